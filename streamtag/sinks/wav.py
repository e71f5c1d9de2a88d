"""Captured audio as a WAV file: to listen again, and to compare live results with `streamtag file`."""

from __future__ import annotations

from pathlib import Path

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from numpy.typing import NDArray

from streamtag.audio.resample import SAMPLE_RATE, Resampler
from streamtag.audio.source import Closing
from streamtag.sinks.atomic_file import cannot_write, check_target

CODEC = "pcm_f32le"  # lossless
OPTIONS = {"rf64": "auto"}  # beyond 4 GiB, 6 hours at 48 kHz, a WAV needs another kind of header


class WavFile(Closing):
    """A mono file at the sample rate of the first samples; those of another rate are resampled.

    It grows in its place, so that a crash leaves what was written until then; its header is correct once it is closed.
    Opening it verifies that it can be written.
    """

    def __init__(self, path: Path) -> None:
        """Raises OutputError."""
        self._path = path
        check_target(path)
        try:
            path.open("wb").close()  # FFmpeg opens it itself, when the rate is known
        except OSError as error:
            raise cannot_write(path, error) from None
        self._is_closed = False
        self._container: OutputContainer | None = None
        self._stream: AudioStream | None = None
        self._rate = 0
        self._resampler: Resampler | None = None
        self._written = 0  # samples

    def write(self, samples: NDArray[np.float32], rate: int) -> None:
        """Write samples [n] at `rate` Hz. Raises OutputError."""
        if self._stream is None:
            self._open(rate)
        if self._resampler is not None and self._resampler.rate != rate:
            self._encode(self._resampler.flush())
            self._resampler = None
        if self._resampler is None and rate != self._rate:
            self._resampler = Resampler(rate, self._rate)
        self._encode(samples if self._resampler is None else self._resampler.feed(samples))

    def close(self) -> None:
        """Complete the header. Raises OutputError."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if self._stream is None:
                self._open(SAMPLE_RATE)
            if self._resampler is not None:
                self._encode(self._resampler.flush())
            assert self._stream is not None
            assert self._container is not None
            self._container.mux(self._stream.encode(None))
            self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise cannot_write(self._path, error) from None

    def _open(self, rate: int) -> None:
        try:
            self._container = av.open(f"file:{self._path.absolute()}", "w", format="wav", options=OPTIONS)
            stream = self._container.add_stream(CODEC, rate=rate, layout="mono")
            self._container.start_encoding()  # writes the header, even if no audio follows
        except (av.error.FFmpegError, OSError) as error:
            raise cannot_write(self._path, error) from None
        assert isinstance(stream, AudioStream)
        self._stream, self._rate = stream, rate

    def _encode(self, samples: NDArray[np.float32]) -> None:
        if not len(samples):
            return
        assert self._stream is not None
        assert self._container is not None
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples[np.newaxis]), format="flt", layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._written
        self._written += len(samples)
        try:
            self._container.mux(self._stream.encode(frame))
        except (av.error.FFmpegError, OSError) as error:
            raise cannot_write(self._path, error) from None
