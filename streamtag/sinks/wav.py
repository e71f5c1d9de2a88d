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
        self._output: tuple[OutputContainer, AudioStream] | None = None  # None until the rate is known
        self._rate = 0
        self._resampler: Resampler | None = None
        self._written = 0  # samples

    def write(self, samples: NDArray[np.float32], rate: int) -> None:
        """Write samples [n] at `rate` Hz. Raises OutputError."""
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
            container, stream = self._open(SAMPLE_RATE)
            if self._resampler is not None:
                self._encode(self._resampler.flush())
            container.mux(stream.encode(None))
            container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise cannot_write(self._path, error) from None

    def _open(self, rate: int) -> tuple[OutputContainer, AudioStream]:
        """Return the file and its stream, opened at this rate if they are not open yet. Raises OutputError."""
        if self._output is None:
            try:
                container = av.open(f"file:{self._path.absolute()}", "w", format="wav", options=OPTIONS)
                stream = container.add_stream(CODEC, rate=rate, layout="mono")
                container.start_encoding()  # writes the header, even if no audio follows
            except (av.error.FFmpegError, OSError) as error:
                raise cannot_write(self._path, error) from None
            assert isinstance(stream, AudioStream)
            self._output, self._rate = (container, stream), rate
        return self._output

    def _encode(self, samples: NDArray[np.float32]) -> None:
        if not len(samples):
            return
        container, stream = self._open(self._rate)
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples[np.newaxis]), format="flt", layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._written
        self._written += len(samples)
        try:
            container.mux(stream.encode(frame))
        except (av.error.FFmpegError, OSError) as error:
            raise cannot_write(self._path, error) from None
