"""The best audio stream of a container, decoded block by block; damage is skipped and counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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

    def blocks(self, seconds: float) -> Iterator[Block]:
        """Blocks of about `seconds`, cut where the format changes. Raises FFmpegError where reading fails."""
        stored, key = AudioFifo(), None  # converting a whole block at once costs a third of converting its frames
        for frame in self._frames():
            frame.pts = None  # damaged time stamps would be errors
            if key != (key := (frame.format.name, frame.layout.name, frame.sample_rate)) and stored.samples:
                yield _block(stored)
            stored = stored if stored.samples else AudioFifo()
            stored.write(frame)
            if stored.samples >= seconds * frame.sample_rate:
                yield _block(stored)
        if stored.samples:
            yield _block(stored)

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


def _block(stored: AudioFifo) -> Block:
    """Remove everything from `stored` and convert it to float32, keeping its rate and channels."""
    whole = stored.read()
    assert whole is not None  # there are samples
    packed = whole.format.name == "flt"
    parts = [whole] if packed else AudioResampler(format="flt").resample(whole)
    channels = whole.layout.nb_channels
    samples = np.concatenate([part.to_ndarray().reshape(-1, channels) for part in parts], dtype=np.float32)
    return Block(whole.sample_rate, samples)


def _best_stream(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise SourceError("not an audio file: no sound in it")
    # the best is one whose rate FFmpeg has seen already; of a live stream it may have seen too little
    stream = container.streams.best("audio") or container.streams.audio[0]
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        raise SourceError("not an audio file: no sound in it that can be decoded")
    return stream
