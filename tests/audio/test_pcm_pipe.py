"""Bare samples on standard input: every format, every cut, odd ends, stalls."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtag.audio.pcm import PcmFormat
from streamtag.audio.pcm_pipe import DEPTH, PcmPipe
from streamtag.audio.source import AudioChunk, CaptureEvent, SourceNotice
from streamtag.errors import SourceError


def noise(seconds: float, rate: int, channels: int) -> NDArray[np.float32]:
    random = np.random.default_rng(3)
    return (0.2 * random.standard_normal((round(seconds * rate), channels))).astype(np.float32)


def encoded(samples: NDArray[np.float32], spec: PcmFormat) -> bytes:
    if spec.encoding == "s16le":
        return np.round(samples * 32768).clip(-32768, 32767).astype("<i2").tobytes()
    return samples.astype("<f4").tobytes()


def all_of(capture: PcmPipe) -> list[CaptureEvent]:
    pieces = []
    until = time.monotonic() + 30
    while (piece := capture.read(0.2)) is not None:
        assert time.monotonic() < until
        pieces.append(piece)
    return pieces


def sound_of(pieces: list[CaptureEvent]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(0, np.float32), *(p.samples for p in pieces if isinstance(p, AudioChunk))])


class Trickle(io.RawIOBase):
    """A pipe that gives its bytes in pieces of the sizes, over and over."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes, self._turn = data, sizes, 0

    def read(self, size: int = -1) -> bytes:
        count = min(size, self._sizes[self._turn % len(self._sizes)])
        self._turn += 1
        data, self._data = self._data[:count], self._data[count:]
        return data


@contextmanager
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    read, write = os.pipe()
    with os.fdopen(read, "rb", 0) as reader, os.fdopen(write, "wb", 0) as writer:
        yield reader, writer


@pytest.mark.parametrize(
    "spec",
    [
        PcmFormat(16000, "s16le"),
        PcmFormat(44100, "s16le", 2),
        PcmFormat(48000, "f32le", 2),
        PcmFormat(8000, "f32le", 1),
        PcmFormat(96000, "f32le", 6),
    ],
)
def test_every_format_comes_out_as_mono_at_16_khz(spec: PcmFormat) -> None:
    sound = noise(2, spec.rate, spec.channels)
    with PcmPipe(spec, file=io.BytesIO(encoded(sound, spec))) as capture:
        heard = sound_of(all_of(capture))
        assert capture.read(0) is None
    expected = soxr.resample(sound.mean(axis=1), spec.rate, 16000)
    assert len(heard) == 32000
    np.testing.assert_allclose(heard, expected, atol=2e-6 if spec.encoding == "f32le" else 5e-5)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=6),
    odd=st.integers(0, 3),
    format=st.sampled_from(["s16le", "f32le"]),
)
def test_how_the_bytes_come_does_not_matter_and_an_odd_end_is_told(sizes: list[int], odd: int, format: Any) -> None:
    spec = PcmFormat(16000, format, 2)
    sound = noise(0.1, 16000, 2)
    data = encoded(sound, spec) + b"\x01" * odd
    with PcmPipe(spec, file=Trickle(data, sizes)) as capture:  # type: ignore[arg-type]
        pieces = all_of(capture)
    np.testing.assert_allclose(sound_of(pieces), sound.mean(axis=1), atol=5e-5)
    notices = [piece for piece in pieces if isinstance(piece, SourceNotice)]
    assert bool(notices) == bool(odd)
    if odd:
        assert f"the last {odd} bytes of standard input are no whole sample" in notices[0].text


def test_samples_that_are_no_numbers_count_as_silence_and_are_told() -> None:
    sound = noise(0.5, 16000, 1)
    sound[100:110] = np.nan
    sound[200] = np.inf
    spec = PcmFormat(16000, "f32le")
    with PcmPipe(spec, file=io.BytesIO(encoded(sound, spec))) as capture:
        pieces = all_of(capture)
    heard = sound_of(pieces)
    assert np.isfinite(heard).all()
    np.testing.assert_array_equal(heard[300:], sound[300:, 0])
    assert pieces[-1] == SourceNotice("11 samples were no finite numbers, and count as 0", is_problem=False)


def test_a_stall_gives_pieces_without_samples_and_loses_nothing() -> None:
    spec = PcmFormat(16000, "s16le")
    sound = noise(0.5, 16000, 1)
    data = encoded(sound, spec)
    with pipe() as (reader, writer), PcmPipe(spec, file=reader) as capture:
        writer.write(data[:8001])  # half a sample too much
        pieces: list[CaptureEvent] = []
        while len(sound_of(pieces)) < 4000:
            piece = capture.read(5)
            assert piece is not None
            pieces.append(piece)
        began = time.monotonic()
        idle = capture.read(0.05)
        assert isinstance(idle, AudioChunk)
        assert len(idle.samples) == 0
        assert time.monotonic() - began >= 0.04
        writer.write(data[8001:])
        writer.close()
        heard = sound_of(pieces + all_of(capture))
        assert capture.xruns == 0
    np.testing.assert_allclose(heard, sound[:, 0], atol=5e-5)


def test_a_writer_that_is_too_fast_waits_and_memory_stays_bounded() -> None:
    spec = PcmFormat(16000, "s16le")
    second = encoded(noise(1, 16000, 1), spec)
    written = []

    def write(writer: BinaryIO) -> None:
        for _ in range(30):
            rest = second
            while rest:
                rest = rest[writer.write(rest) :]
            written.append(1)
        writer.close()

    with pipe() as (reader, writer), PcmPipe(spec, file=reader) as capture:
        thread = threading.Thread(target=write, args=(writer,))
        thread.start()
        until = time.monotonic() + 10
        while len(capture._ready.queue) < DEPTH:  # the pipe is full then, too
            assert time.monotonic() < until
            time.sleep(0.005)
        assert len(written) < 30
        heard = sound_of(all_of(capture))
        thread.join(10)
    assert len(heard) == 30 * 16000


def test_an_empty_input_is_an_error() -> None:
    with (
        PcmPipe(PcmFormat(16000, "s16le"), file=io.BytesIO()) as capture,
        pytest.raises(SourceError, match="standard input: is empty"),
    ):
        all_of(capture)


def test_an_input_that_breaks_off_is_an_error_behind_its_samples() -> None:
    class Broken(Trickle):
        def read(self, size: int = -1) -> bytes:
            data = super().read(size)
            if not data:
                raise OSError(5, "Input/output error")
            return data

    data = encoded(noise(0.1, 16000, 1), PcmFormat(16000, "s16le"))
    with PcmPipe(PcmFormat(16000, "s16le"), file=Broken(data, [999])) as capture:  # type: ignore[arg-type]
        samples = 0
        while samples < 1600:
            piece = capture.read(5)
            assert isinstance(piece, AudioChunk)
            samples += len(piece.samples)
        with pytest.raises(SourceError, match=r"broke off: .*Input/output error"):
            capture.read(5)
        assert capture.read(0) is None
    assert samples == 1600


def test_closing_it_does_not_wait_for_a_pipe_that_gives_nothing() -> None:
    with pipe() as (reader, writer):
        capture = PcmPipe(PcmFormat(16000, "s16le"), file=reader)
        began = time.monotonic()
        capture.close()
        assert time.monotonic() - began < 3
        writer.write(b"\0\0")  # so that its thread ends before the pipe does
        capture.close()


def test_it_says_what_it_is() -> None:
    with PcmPipe(PcmFormat(48000, "f32le", 2), file=io.BytesIO(b"")) as capture:
        assert capture.name == "stdin"
        assert capture.description == "standard input, f32le, 48000 Hz, 2 channels"
        assert capture.latency_s == 0
