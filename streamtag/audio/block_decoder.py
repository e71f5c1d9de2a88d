"""Decodes the best audio stream of an open container into blocks of samples, from any place on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import av
import av.error
import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from numpy.typing import NDArray

from streamtag.errors import SourceError

_MIN_SEEK_S = 5.0  # nearer the start, seeking would only confuse what containers cut off there
_DRIFTING = ("ac3", "eac3")  # bare frames whose rounded time stamps fall behind the samples
_PREROLL_S = 0.5  # decoders need what precedes: 10 frames of MP3 (its bit reservoir), 80 ms of Opus
_MAX_FAILURES = 64  # reads in a row without a packet, then the rest of the file counts as lost
INTEGERS = {"uint8": (128, 2**-7), "int16": (0, 2**-15), "int32": (0, 2**-31)}  # zero, scale


@dataclass(frozen=True)
class DecodedBlock:
    """samples [n, channels] float32 at `rate` Hz."""

    rate: int
    samples: NDArray[np.float32]


class Decoder:
    """Decodes the best audio stream of one container. `damaged` counts the packets that were skipped."""

    def __init__(self, container: InputContainer) -> None:
        """Raises SourceError, its message without the name of the source."""
        self.damaged = 0
        self._container = container
        self.stream = _best_stream(container)
        self._frames = self._decoded()

    @property
    def duration_s(self) -> float | None:
        """The length that the container states, or None."""
        if self.stream.duration and self.stream.time_base:
            duration = float(self.stream.duration * self.stream.time_base)
        else:
            duration = (self._container.duration or 0) / 1_000_000
        return duration if duration > 0 else None

    def seek(self, start_s: float) -> float:
        """Go on decoding at a place before start_s, and return that place [s]: 0 where it is better not to seek.

        Call it before `blocks`, if the container can seek. Time 0 is the first decoded sample, whatever its stamp says.
        """
        first = next(self._frames, None)
        if first is None:
            return 0.0
        unmoved = chain((first,), self._frames)
        is_inside = _MIN_SEEK_S <= start_s < (self.duration_s or 0.0)
        if first.time is None or not is_inside or self._container.format.name in _DRIFTING:
            self._frames = unmoved
            return 0.0
        self._seek(first.time + start_s - _PREROLL_S)
        landed = next(self._frames, None)
        if landed is not None and landed.time is not None and 0 <= landed.time - first.time <= start_s:
            self._frames = chain((landed,), self._frames)
            return landed.time - first.time
        self._seek(0.0)  # it came out behind the start: read everything instead
        return 0.0

    def _seek(self, stamp_s: float) -> None:
        unit = self.stream.time_base
        assert unit is not None  # the first frame has a time
        self._container.seek(round(stamp_s / unit), stream=self.stream)
        self._frames = self._decoded()

    def blocks(self, seconds: float) -> Iterator[DecodedBlock]:
        """Yield blocks of about `seconds`, cut where the format changes. Raises FFmpegError where reading fails."""
        stored, key = AudioFifo(), None  # converting a whole block at once costs a third of converting its frames
        for frame in self._frames:
            frame.pts = None  # damaged time stamps would be errors
            if key != (key := (frame.format.name, frame.layout.name, frame.sample_rate)) and stored.samples:
                yield _block(stored)
            stored = stored if stored.samples else AudioFifo()
            stored.write(frame)
            if stored.samples >= seconds * frame.sample_rate:
                yield _block(stored)
        if stored.samples:
            yield _block(stored)

    def _decoded(self) -> Iterator[AudioFrame]:
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                if isinstance(frame, AudioFrame) and frame.samples and frame.sample_rate:
                    yield frame

    def _packets(self) -> Iterator[Packet[AudioStream]]:
        """Demux on behind damaged places for as long as packets still come."""
        failures = 0
        while failures < _MAX_FAILURES:
            try:
                for packet in self._container.demux(self.stream):
                    failures = 0
                    yield packet
            except av.error.InvalidDataError:
                failures += 1
                self.damaged += 1
            else:
                return


def _block(stored: AudioFifo) -> DecodedBlock:
    """Remove everything from `stored` and convert it to float32, keeping its rate and channels."""
    whole = stored.read()
    assert whole is not None  # there are samples
    return DecodedBlock(whole.sample_rate, as_float(whole))


def as_float(frame: AudioFrame) -> NDArray[np.float32]:
    """Return a frame's samples [n, channels] as FFmpeg converts them. NumPy does it in a fraction of the time."""
    if frame.format.name.startswith("s64"):  # PyAV cannot read them
        return np.concatenate([as_float(part) for part in AudioResampler(format="flt").resample(frame)])
    stored = frame.to_ndarray()
    samples = stored.T if frame.format.is_planar else stored.reshape(-1, frame.layout.nb_channels)
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    middle, scale = INTEGERS[samples.dtype.name]
    return (samples.astype(np.float32) - np.float32(middle)) * np.float32(scale)


def _best_stream(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise SourceError("not an audio file: no sound in it")
    # the best is one whose rate FFmpeg has seen already; of a live stream it may have seen too little
    stream = container.streams.best("audio") or container.streams.audio[0]
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        raise SourceError("not an audio file: no sound in it that can be decoded")
    return stream
