"""Audio from a file, a web address or standard input, decoded into mono 16 kHz chunks.

    with open_source("song.mp3") as source:
        for chunk in source:    # float32, mono, 16 kHz
            ...

Memory does not grow with the length of the audio: at most one chunk is decoded ahead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
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

from streamtag.audio.container import PIPE_HINT, describe_read_error, open_container
from streamtag.audio.files import Address
from streamtag.audio.resample import SAMPLE_RATE, Resampler
from streamtag.audio.source import Closing
from streamtag.errors import SourceError, SpecError
from streamtag.text import plural

_MAX_FAILURES = 64  # reads in a row without a packet, then the rest of the file counts as lost


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

    def blocks(self, seconds: float) -> Iterator[DecodedBlock]:
        """Yield blocks of about `seconds`, cut where the format changes. Raises FFmpegError where reading fails."""
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
    packed = whole.format.name == "flt"
    parts = [whole] if packed else AudioResampler(format="flt").resample(whole)
    channels = whole.layout.nb_channels
    samples = np.concatenate([part.to_ndarray().reshape(-1, channels) for part in parts], dtype=np.float32)
    return DecodedBlock(whole.sample_rate, samples)


def _best_stream(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise SourceError("not an audio file: no sound in it")
    # the best is one whose rate FFmpeg has seen already; of a live stream it may have seen too little
    stream = container.streams.best("audio") or container.streams.audio[0]
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        raise SourceError("not an audio file: no sound in it that can be decoded")
    return stream


@dataclass(frozen=True)
class SourceSpec:
    """How a source is opened and cut. The timeouts, in seconds, hold for URLs."""

    open_timeout_s: float = 10.0
    read_timeout_s: float = 10.0
    chunk_s: float = 0.25  # below a hop, so that a live stream does not wait for it

    def __post_init__(self) -> None:
        if not (self.open_timeout_s > 0 and self.read_timeout_s > 0):
            raise SpecError("SourceSpec: timeouts must be positive")
        if not 0.01 <= self.chunk_s <= 1:
            raise SpecError("SourceSpec: chunk_s must lie between 0.01 and 1 s")


@dataclass(frozen=True)
class SourceInfo:
    """What the container says about its audio. duration_s: None if unknown, as in a live stream."""

    name: str
    duration_s: float | None
    sample_rate: int
    channels: int
    codec: str


class Source(Closing):
    """An open source; a context manager. Iterate it once, from one thread."""

    def __init__(self, address: Address, spec: SourceSpec) -> None:
        """Raises SourceError."""
        self._address = address
        self._spec = spec
        self._repaired = 0
        with ExitStack() as resources:
            container = open_container(address, spec.open_timeout_s, spec.read_timeout_s, resources)
            try:
                self._decoder = Decoder(container)
            except SourceError as error:
                raise SourceError(f"{address.label}: {error}") from None
            self.info = _info_of(address.name, container, self._decoder)
            self._resources = resources.pop_all()

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield chunks [n], at most a second each. Raises SourceError if reading fails, or nothing can be decoded."""
        is_empty = True
        try:
            for chunk in self._resampled():
                for start in range(0, len(chunk), SAMPLE_RATE):
                    is_empty = False
                    yield chunk[start : start + SAMPLE_RATE]
        except (av.error.FFmpegError, OSError) as error:
            reason = describe_read_error(error, self._spec.read_timeout_s)
            raise SourceError(f"{self._address.label}: broke off: {reason}") from None
        except SpecError as error:
            raise SourceError(f"{self._address.label}: {error}") from None
        if is_empty:
            hint = PIPE_HINT if self._address.kind == "pipe" else ""
            raise SourceError(f"{self._address.label}: not one sample of it could be decoded{hint}")

    @property
    def warnings(self) -> list[str]:
        """What was repaired so far, for people; complete at the end."""
        found = []
        if self._decoder.damaged:
            found.append(f"{plural(self._decoder.damaged, 'damaged packet')} skipped")
        if self._repaired:
            found.append(f"{plural(self._repaired, 'sample')} not a finite number, set to 0")
        return found

    def close(self) -> None:
        self._resources.close()

    def _resampled(self) -> Iterator[NDArray[np.float32]]:
        """Resample all blocks; a change of rate ends one resampler's stream and begins another's."""
        resampler: Resampler | None = None
        for block in self._decoder.blocks(self._spec.chunk_s):
            if resampler is None or resampler.rate != block.rate:
                if resampler is not None:
                    yield resampler.flush()
                resampler = Resampler(block.rate)
            before = resampler.repaired
            yield resampler.feed(block.samples)
            self._repaired += resampler.repaired - before
        if resampler is not None:
            yield resampler.flush()


def open_source(where: str, spec: SourceSpec | None = None, *, allow_live: bool = False) -> Source:
    """Open a path, an http(s) URL, or "-" for standard input. Raises SourceError.

    The best audio stream is chosen (of a video: its sound), any number of channels is mixed to mono.
    allow_live: open also rtsp(s), srt and rtmp URLs, which may never end.
    """
    return Source(Address.of(where, allow_live), spec or SourceSpec())


def _info_of(name: str, container: InputContainer, decoder: Decoder) -> SourceInfo:
    stream, codec = decoder.stream, decoder.stream.codec_context
    duration: float | None = None
    if stream.duration and stream.time_base:
        duration = float(stream.duration * stream.time_base)
    elif container.duration:
        duration = container.duration / 1_000_000
    return SourceInfo(
        name=name,
        duration_s=duration if duration and duration > 0 else None,
        sample_rate=codec.sample_rate,
        channels=codec.layout.nb_channels,
        codec=codec.codec.canonical_name,
    )
