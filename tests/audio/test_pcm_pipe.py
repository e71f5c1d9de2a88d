"""Raw PCM from a pipe: odd ends, stalls, writers that are too fast, errors. test_pcm has the formats and cuts."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from streamtag.audio.pcm import PcmFormat
from streamtag.audio.pcm_pipe import PcmPipe
from streamtag.audio.source import AudioChunk, SourceNotice
from streamtag.errors import SourceError
from tests.audio.capture import noise, notices_of, read_all, read_until, samples_of

MONO = PcmFormat(16000, "s16le")


def encoded(samples: NDArray[np.float32], format: PcmFormat) -> bytes:
    if format.encoding == "s16le":
        return np.round(samples * 32768).clip(-32768, 32767).astype("<i2").tobytes()
    return samples.astype("<f4").tobytes()


@contextmanager
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    read, write = os.pipe()
    with os.fdopen(read, "rb", 0) as reader, os.fdopen(write, "wb", 0) as writer:
        yield reader, writer


@pytest.mark.parametrize(
    "format", [MONO, PcmFormat(44100, "s16le", 2), PcmFormat(8000, "f32le", 1), PcmFormat(96000, "f32le", 6)]
)
def test_every_format_comes_out_as_mono_at_16_khz(format: PcmFormat) -> None:
    sound = noise(2, format.rate, format.channels)
    with PcmPipe(format, file=io.BytesIO(encoded(sound, format))) as source:
        samples = samples_of(read_all(source))
        assert source.read(0) is None
    expected = soxr.resample(sound.mean(axis=1), format.rate, 16000)
    assert len(samples) == 32000
    np.testing.assert_allclose(samples, expected, atol=2e-6 if format.encoding == "f32le" else 5e-5)


@pytest.mark.parametrize("odd", [0, 1, 3])
def test_an_odd_end_is_reported(odd: int) -> None:
    format = PcmFormat(16000, "s16le", 2)
    data = encoded(noise(0.1, 16000, 2), format) + b"\1" * odd
    with PcmPipe(format, file=io.BytesIO(data)) as source:
        texts = [notice.text for notice in notices_of(read_all(source))]
    assert bool(texts) == bool(odd)
    assert all(f"the last {odd} bytes of standard input are no whole sample" in text for text in texts)


def test_samples_that_are_not_finite_count_as_zero_and_are_reported() -> None:
    sound = noise(0.5, 16000, 1)
    sound[100:110] = np.nan
    sound[200] = np.inf
    format = PcmFormat(16000, "f32le")
    with PcmPipe(format, file=io.BytesIO(encoded(sound, format))) as source:
        events = read_all(source)
    np.testing.assert_array_equal(samples_of(events), np.where(np.isfinite(sound), sound, 0)[:, 0])
    assert events[-1] == SourceNotice("11 samples were no finite numbers, and count as 0", is_problem=False)


def test_a_stall_gives_empty_chunks_and_loses_nothing() -> None:
    sound = noise(0.5, 16000, 1)
    data = encoded(sound, MONO)
    with pipe() as (reader, writer), PcmPipe(MONO, file=reader) as source:
        writer.write(data[:8001])  # half a sample too much
        events = read_until(source, lambda events: len(samples_of(events)) >= 4000)
        began = time.monotonic()
        idle = source.read(0.05)
        assert isinstance(idle, AudioChunk)
        assert len(idle.samples) == 0
        assert time.monotonic() - began >= 0.04
        writer.write(data[8001:])
        writer.close()
        samples = samples_of(events + read_all(source))
        assert source.xruns == 0
    np.testing.assert_allclose(samples, sound[:, 0], atol=5e-5)


def test_a_writer_that_is_too_fast_waits_and_loses_nothing() -> None:
    second = encoded(noise(1, 16000, 1), MONO)
    written = []

    def write(writer: BinaryIO) -> None:
        for _ in range(30):
            left = second
            while left:
                left = left[writer.write(left) :]
            written.append(time.monotonic())
        writer.close()

    with pipe() as (reader, writer), PcmPipe(MONO, file=reader) as source:
        thread = threading.Thread(target=write, args=(writer,))
        thread.start()
        while not written or time.monotonic() - written[-1] < 0.3:  # until it is held up
            time.sleep(0.02)
        assert len(written) < 20
        samples = samples_of(read_all(source))
        thread.join(10)
    assert len(samples) == 30 * 16000


def test_an_input_that_breaks_off_is_an_error_behind_its_samples() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            if not data:
                raise OSError(5, "Input/output error")
            return data

    with PcmPipe(MONO, file=Broken(encoded(noise(0.1, 16000, 1), MONO))) as source:
        events = read_until(source, lambda events: len(samples_of(events)) >= 1600)
        with pytest.raises(SourceError, match=r"broke off: .*Input/output error"):
            read_all(source)
        assert source.read(0) is None
    assert len(samples_of(events)) == 1600


def test_closing_does_not_wait_for_a_pipe_that_gives_nothing() -> None:
    with pipe() as (reader, writer):
        source = PcmPipe(PcmFormat(48000, "f32le", 2), file=reader)
        assert (source.name, source.latency_s) == ("stdin", 0)
        assert source.description == "standard input, f32le, 48000 Hz, 2 channels"
        began = time.monotonic()
        source.close()
        assert time.monotonic() - began < 3
        writer.write(b"\0\0")  # so that its thread ends before the pipe does
        source.close()
