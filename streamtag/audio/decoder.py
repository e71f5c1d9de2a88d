"""The best audio stream of a container, decoded block by block; damage is skipped and counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from numpy.typing import NDArray

from streamtag.errors import SourceError

_MAX_FAILURES = 64  # reads in a row that give no packet: then the rest of the file counts as lost


@dataclass(frozen=True)
class Block:
    """samples [n, channels] float32 at `rate` Hz."""

    rate: int
    samples: NDArray[np.float32]


class Decoder:
    """Owns the decoding of one container. `damaged` counts the packets that were skipped."""

    def __init__(self, container: InputContainer) -> None:
        """Raises SourceError (its message without the name of the source)."""
        self.damaged = 0
        self._container = container
        self.stream = _best_stream(container)
        self._converter = _Converter()

    def blocks(self, seconds: float) -> Iterator[Block]:
        """Blocks of about `seconds`, cut where the format changes. Raises FFmpegError where reading fails."""
        parts: list[NDArray[np.float32]] = []
        rate = length = 0
        for frame in self._frames():
            samples = self._converter.samples(frame)
            if parts and (frame.sample_rate != rate or samples.shape[1] != parts[0].shape[1]):
                yield Block(rate, np.concatenate(parts))
                parts, length = [], 0
            rate = frame.sample_rate
            parts.append(samples)
            length += len(samples)
            if length >= seconds * rate:
                yield Block(rate, np.concatenate(parts))
                parts, length = [], 0
        if parts:
            yield Block(rate, np.concatenate(parts))

    def _frames(self) -> Iterator[AudioFrame]:
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
        """Demuxing goes on behind damaged places for as long as packets still come."""
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


class _Converter:
    """Any sample format to packed float32, rate and channels kept; made anew when the format changes."""

    def __init__(self) -> None:
        self._key: tuple[str, str, int] | None = None
        self._resampler = AudioResampler(format="flt")

    def samples(self, frame: AudioFrame) -> NDArray[np.float32]:
        """-> [n, channels]"""
        key = (frame.format.name, frame.layout.name, frame.sample_rate)
        if key != self._key:
            self._key = key
            self._resampler = AudioResampler(format="flt")
        frame.pts = None  # damaged time stamps are of no interest here
        channels = frame.layout.nb_channels
        parts = [part.to_ndarray().reshape(-1, channels) for part in self._resampler.resample(frame)]
        return np.concatenate(parts, dtype=np.float32)


def _best_stream(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise SourceError("not an audio file: no sound in it")
    # the best is one whose rate FFmpeg has seen already; of a live stream it may have seen too little
    stream = container.streams.best("audio") or container.streams.audio[0]
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        raise SourceError("not an audio file: no sound in it that can be decoded")
    return stream
