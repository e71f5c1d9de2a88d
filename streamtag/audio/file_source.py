"""A sound from a file, a web address or standard input, as a stream of mono 16 kHz chunks.

    with open_source("song.mp3") as source:
        for chunk in source:    # float32, mono, 16 kHz
            ...

Memory does not grow with the length of the sound: at most one chunk is decoded ahead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import av.error
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from streamtag.audio.address import Address
from streamtag.audio.closing import Closing
from streamtag.audio.container import PIPE_HINT, open_container, reason_of
from streamtag.audio.decoder import Decoder
from streamtag.audio.resample import SAMPLE_RATE, Resampler
from streamtag.errors import SourceError, SpecError
from streamtag.text import plural


@dataclass(frozen=True)
class SourceSpec:
    """How a sound is opened and cut. The timeouts, in seconds, hold for web addresses."""

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
    """What the container says of its sound. duration_s: None if unknown, as in a live stream."""

    name: str
    duration_s: float | None
    sample_rate: int
    channels: int
    codec: str


class Source(Closing):
    """An open sound; a context manager. Iterate it once, from one thread."""

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
        """Chunks [n], at most a second. Raises SourceError if reading fails, or nothing can be decoded."""
        empty = True
        try:
            for chunk in self._resampled():
                for start in range(0, len(chunk), SAMPLE_RATE):
                    empty = False
                    yield chunk[start : start + SAMPLE_RATE]
        except (av.error.FFmpegError, OSError) as error:
            reason = reason_of(error, self._spec.read_timeout_s)
            raise SourceError(f"{self._address.label}: broke off: {reason}") from None
        except SpecError as error:
            raise SourceError(f"{self._address.label}: {error}") from None
        if empty:
            hint = PIPE_HINT if self._address.kind == "pipe" else ""
            raise SourceError(f"{self._address.label}: not one sample of it could be decoded{hint}")

    @property
    def warnings(self) -> list[str]:
        """What was mended so far, for people; complete at the end."""
        found = []
        if self._decoder.damaged:
            found.append(f"{plural(self._decoder.damaged, 'damaged packet')} skipped")
        if self._repaired:
            found.append(f"{plural(self._repaired, 'sample')} not a finite number, set to 0")
        return found

    def close(self) -> None:
        self._resources.close()

    def _resampled(self) -> Iterator[NDArray[np.float32]]:
        """A change of rate ends one resampler's stream and begins another's."""
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


def open_source(where: str, spec: SourceSpec | None = None) -> Source:
    """Opens a path, an http(s) address, or "-" for standard input. Raises SourceError.

    The best audio stream is chosen (of a video: its sound), every channel count is mixed to mono.
    """
    return Source(Address.of(where), spec or SourceSpec())


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
