"""Raw PCM from a pipe: odd ends, stalls, writers that are too fast, errors. test_pcm has the formats and cuts."""

from __future__ import annotations

import io
import os
import threading
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
from tests.audio.capture import TIMEOUT_S, noise, notices_of, read_all, read_until, samples_of

MONO = PcmFormat(16000, "s16le")
SECOND = 2 * 16000  # bytes of it


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
        idle = source.read(0.05)
        assert isinstance(idle, AudioChunk)
        assert len(idle.samples) == 0
        thread = threading.Thread(target=writer.write, args=(data[8001:],))
        thread.start()
        chunk = source.read(TIMEOUT_S)  # waits until there is something
        assert isinstance(chunk, AudioChunk)
        assert len(chunk.samples)
        thread.join()
        writer.close()
        samples = samples_of([*events, chunk, *read_all(source)])
        assert source.xruns == 0
    np.testing.assert_allclose(samples, sound[:, 0], atol=5e-5)


def test_what_comes_too_fast_is_read_ahead_for_some_seconds_and_none_of_it_is_lost() -> None:
    class FastInput(io.BytesIO):
        """Has all of its data at once. ahead: the most bytes that were read before the test had them."""

        taken = ahead = 0
        was_read_far = threading.Event()

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.ahead = max(self.ahead, self.tell() - self.taken)
            if self.ahead > 5 * SECOND:
                self.was_read_far.set()
            return data

    file = FastInput(encoded(noise(30, 16000, 1), MONO))
    with PcmPipe(MONO, file=file) as source:
        assert file.was_read_far.wait(TIMEOUT_S)
        while (event := source.read(TIMEOUT_S)) is not None:
            assert isinstance(event, AudioChunk)
            file.taken += 2 * len(event.samples)
    assert file.taken == 30 * SECOND
    assert file.ahead < 10 * SECOND


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
        source.close()  # returns, although nothing was written
        writer.write(b"\0\0")  # so that its thread ends before the pipe does
        source.close()
