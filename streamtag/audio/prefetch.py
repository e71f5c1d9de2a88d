"""Reading ahead in a thread of its own: nobody waits for a stalled input, and decoding overlaps with the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.decoder import Source, SourceInfo, open_source
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.audio.source import NO_SAMPLES, Closing
from streamtag.audio.threaded import POLL_INTERVAL_S, ThreadedIterator

FIRST_SLICE_S = 1.0  # small, so that the first frame comes at once
MAX_SLICE_S = 8.0  # beyond it nothing gets faster, only Ctrl-C and the view slower
MAX_GATHERING_S = 0.05  # how long a slice waits for more: decoding 8 s of a file takes less
SLICE_GROWTH = 2.0
JOIN_TIMEOUT_S = 0.5  # how long closing waits for a reader that may be stalled
MAX_CHUNKS = 120  # half a minute of audio, 2 MB


class PrefetchReader(Closing):
    """Opens and decodes a file, a web address or standard input in a thread, up to max_chunks ahead.

    A read returns what comes together quickly: small slices of a live stream, large ones, which are cheaper, of a file.

        with PrefetchReader("song.mp3") as reader:
            for samples in reader:    # [n], n >= 0
                ...

    info: of the container, known with the first samples. warnings: complete at the end.
    """

    def __init__(
        self, where: str, open_source: Callable[[str], Source] = open_source, max_chunks: int = MAX_CHUNKS
    ) -> None:
        """open_source: called with `where` in the thread."""
        self.info: SourceInfo | None = None
        self.warnings: list[str] = []
        self._where = where
        self._open_source = open_source
        self._chunks = ThreadedIterator(self._decode(), max_chunks, "streamtag-read", JOIN_TIMEOUT_S)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield slices [n] of at most about FIRST_SLICE_S, then twice that, and so on to MAX_SLICE_S.

        n = 0 when nothing came for POLL_INTERVAL_S, so that the caller can do other things. Raises SourceError.
        """
        seconds = FIRST_SLICE_S
        while (samples := self.read(round(seconds * SAMPLE_RATE))) is not None:
            yield samples
            if len(samples):
                seconds = min(seconds * SLICE_GROWTH, MAX_SLICE_S)

    def read(self, enough: int, timeout_s: float = POLL_INTERVAL_S) -> NDArray[np.float32] | None:
        """Return the next chunks, until `enough` samples are together; none if none comes in time.

        After the first chunk it waits for others, but no longer than MAX_GATHERING_S.
        Return None at the end. Raises SourceError where opening or reading failed, after the samples before it.
        """
        parts: list[NDArray[np.float32]] = []
        length, until = 0, 0.0
        while length < enough and (chunk := self._chunks.get(timeout_s)) is not None:
            until = until or time.monotonic() + MAX_GATHERING_S
            timeout_s = max(0.0, until - time.monotonic())
            parts.append(chunk)
            length += len(chunk)
        if parts:
            return np.concatenate(parts)
        if self._chunks.error is not None:
            raise self._chunks.error
        return None if self._chunks.has_ended else NO_SAMPLES

    def close(self) -> None:
        self._chunks.close()

    def _decode(self) -> Generator[NDArray[np.float32], None, None]:
        """The body of the thread."""
        with self._open_source(self._where) as source:
            self.info = source.info
            try:
                yield from source
            finally:
                self.warnings = source.warnings
