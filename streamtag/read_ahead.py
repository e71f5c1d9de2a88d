"""A source that is read by a thread of its own."""

from __future__ import annotations

import queue
import threading
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamtag.live.source import SourceInfo, open_source

DEPTH = 120  # chunks: half a minute of sound, 2 MB
WAIT_S = 0.1  # how often a reader that is held up looks whether anyone still listens
NOTHING = np.zeros(0, np.float32)


class ReadAhead:
    """Opens and decodes ahead, up to DEPTH chunks; closing it lets the thread end.

    Decoding overlaps with the network, and nobody has to wait for a stalled connection. Who takes gets all
    that is there: small slices from a live stream, large ones, which are cheaper, from a file.
    """

    def __init__(self, where: str) -> None:
        self.info: SourceInfo | None = None  # known with the first samples
        self.warnings: list[str] = []  # complete at the end
        self._where = where
        self._ready: queue.Queue[NDArray[np.float32] | Exception | None] = queue.Queue(DEPTH)
        self._closed = threading.Event()
        self._end: Exception | None = None
        self._ended = False
        threading.Thread(target=self._read, name="streamtag-read", daemon=True).start()

    def take(self, most: int = DEPTH, timeout_s: float = WAIT_S) -> NDArray[np.float32] | None:
        """The samples of at most `most` chunks [n]; none if nothing comes in time; None at the end.

        Raises SourceError where opening or reading failed, after the samples before it.
        """
        parts: list[NDArray[np.float32]] = []
        while not self._ended and len(parts) < most:
            try:
                item = self._ready.get(block=not parts, timeout=timeout_s)
            except queue.Empty:
                break
            if isinstance(item, np.ndarray):
                parts.append(item)
            else:
                self._ended, self._end = True, item
        if parts:
            return np.concatenate(parts)
        if self._end is not None:
            raise self._end
        return None if self._ended else NOTHING

    def close(self) -> None:
        """Lets the thread end when it comes back from what it waits for."""
        self._closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        except Exception as error:  # raised again by take, in its place
            end = error
        self._put(end)

    def _put(self, item: NDArray[np.float32] | Exception | None) -> None:
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=WAIT_S)
            except queue.Full:
                continue
            return
