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
from math import inf
from pathlib import Path

import av.error
import numpy as np
from numpy.typing import NDArray

from streamtag.audio.block_decoder import DecodedBlock, Decoder
from streamtag.audio.container import PIPE_HINT, describe_read_error, open_container
from streamtag.audio.files import Address
from streamtag.audio.resample import SAMPLE_RATE, Resampler
from streamtag.audio.source import Closing
from streamtag.errors import SourceError, SpecError
from streamtag.text import format_length, format_time, plural


@dataclass(frozen=True)
class SourceSpec:
    """How a source is opened and cut. The timeouts, in seconds, hold for URLs.

    start_s, duration_s: the part to read, in seconds of the source; None: to its end.
    """

    open_timeout_s: float = 10.0
    read_timeout_s: float = 10.0
    chunk_s: float = 0.25  # below a hop, so that a live stream does not wait for it
    start_s: float = 0.0
    duration_s: float | None = None

    def __post_init__(self) -> None:
        if not (self.open_timeout_s > 0 and self.read_timeout_s > 0):
            raise SpecError("SourceSpec: timeouts must be positive")
        if not 0.01 <= self.chunk_s <= 1:
            raise SpecError("SourceSpec: chunk_s must lie between 0.01 and 1 s")
        if not 0 <= self.start_s < inf:
            raise SpecError("SourceSpec: start_s must be 0 or more seconds")
        if self.duration_s is not None and not 0 < self.duration_s < inf:
            raise SpecError("SourceSpec: duration_s must be above 0 s")


@dataclass(frozen=True)
class SourceInfo:
    """What the container says about its audio. duration_s: of the part that is read; None if unknown, as if live."""

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
        self._skip_s = spec.start_s  # still to be read and dropped
        with ExitStack() as resources:
            container = open_container(address, spec.open_timeout_s, spec.read_timeout_s, resources)
            try:
                self._decoder = Decoder(container)
                if spec.start_s and address.kind == "file" and Path(address.where).is_file():  # not a named pipe
                    self._skip_s -= self._decoder.seek(spec.start_s)
            except SourceError as error:
                raise SourceError(f"{address.label}: {error}") from None
            except (av.error.FFmpegError, OSError) as error:
                raise self._broken(error) from None
            self.info = _info_of(address.name, self._decoder, spec)
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
            raise self._broken(error) from None
        except SpecError as error:
            raise SourceError(f"{self._address.label}: {error}") from None
        length_s = self._spec.start_s - self._skip_s
        if is_empty and length_s > 0:
            is_short = f"is {format_length(length_s)} long: it has nothing from {format_time(self._spec.start_s)} on"
            raise SourceError(f"{self._address.label}: {is_short}")
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

    def _broken(self, error: Exception) -> SourceError:
        return SourceError(f"{self._address.label}: broke off: {describe_read_error(error, self._spec.read_timeout_s)}")

    def _excerpt(self) -> Iterator[DecodedBlock]:
        """Yield the part of the source that is to be read, cut at the samples."""
        keep_s = inf if self._spec.duration_s is None else self._spec.duration_s
        for block in self._decoder.blocks(self._spec.chunk_s):
            rate, size = block.rate, len(block.samples)
            start = min(size, round(self._skip_s * rate))
            end = min(size, start + round(min(keep_s, size) * rate))
            self._skip_s -= start / rate
            keep_s -= (end - start) / rate
            if start < end:
                yield DecodedBlock(rate, block.samples[start:end])
            elif start < size:
                return

    def _resampled(self) -> Iterator[NDArray[np.float32]]:
        """Resample all blocks; a change of rate ends one resampler's stream and begins another's."""
        resampler: Resampler | None = None
        for block in self._excerpt():
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


def _info_of(name: str, decoder: Decoder, spec: SourceSpec) -> SourceInfo:
    codec, duration = decoder.stream.codec_context, decoder.duration_s
    if duration is not None:
        duration = min(duration - spec.start_s, spec.duration_s or inf)
    return SourceInfo(
        name=name,
        duration_s=duration if duration and duration > 0 else None,
        sample_rate=codec.sample_rate,
        channels=codec.layout.nb_channels,
        codec=codec.codec.canonical_name,
    )
