"""A source that is read by a thread of its own and handed over in slices for the network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.decoder import SourceInfo, open_source
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.audio.source import Closing

FIRST_S = 1.0  # s; small, so that the first frame comes at once
LARGEST_S = 16.0  # s; beyond it nothing gets faster, only Ctrl-C and the view slower
GROWTH = 2.0
DEPTH = 120  # chunks: half a minute of sound, 2 MB
WAIT_S = 0.1  # s; how often whoever is held up looks around
FAREWELL_S = 0.5  # s; how long closing waits for a reader that may be stalled

_NOTHING = np.zeros(0, np.float32)


class PrefetchReader(Closing):
    """Opens and decodes ahead, up to DEPTH chunks; closing it ends the thread.

    Decoding overlaps with the network, and nobody has to wait for a stalled connection. Who takes gets what
    is there: small slices of a live stream, large ones, which are cheaper, of a file.

        with ReadAhead("song.mp3") as reader:
            for samples in reader:    # [n], n >= 0
                ...
    """

    def __init__(self, where: str) -> None:
        self.info: SourceInfo | None = None  # known with the first samples
        self.warnings: list[str] = []  # complete at the end
        self._where = where
        self._ready: queue.Queue[NDArray[np.float32] | Exception | None] = queue.Queue(DEPTH)
        self._closed = threading.Event()
        self._end: Exception | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="streamtag-read", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Slices [n] of at most about FIRST_S, then twice that, and so on to LARGEST_S.

        n = 0 when nothing came for WAIT_S, so that the taker can look after other things. Raises SourceError.
        """
        seconds = FIRST_S
        while (samples := self.read(round(seconds * SAMPLE_RATE))) is not None:
            yield samples
            if len(samples):
                seconds = min(seconds * GROWTH, LARGEST_S)

    def read(self, enough: int) -> NDArray[np.float32] | None:
        """The chunks that are ready, until `enough` samples are together [n]; none if none comes for WAIT_S.

        None at the end. Raises SourceError where opening or reading failed, after the samples before it.
        """
        parts: list[NDArray[np.float32]] = []
        length = 0
        while not self._ended and length < enough:
            try:
                item = self._ready.get(block=not parts, timeout=WAIT_S)
            except queue.Empty:
                break
            if isinstance(item, np.ndarray):
                parts.append(item)
                length += len(item)
            else:
                self._ended, self._end = True, item
        if parts:
            return np.concatenate(parts)
        if self._end is not None:
            raise self._end
        return None if self._ended else _NOTHING

    def close(self) -> None:
        """Ends the thread; one that waits for a stalled source ends when that gives it something, or up."""
        self._closed.set()
        self._thread.join(FAREWELL_S)

    def _read(self) -> None:
        end: Exception | None = None
        try:
            with open_source(self._where) as source:
                self.info = source.info
                try:
                    for chunk in source:
                        self._put(chunk)
                        if self._closed.is_set():
                            return
                finally:
                    self.warnings = source.warnings
        except Exception as error:  # raised again by read, in its place
            end = error
        self._put(end)

    def _put(self, item: NDArray[np.float32] | Exception | None) -> None:
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=WAIT_S)
            except queue.Full:
                continue
            return
