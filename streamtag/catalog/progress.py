"""How far a run is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from streamtag.catalog.result import FileResult


@dataclass(frozen=True)
class Progress:
    """files of `files_of`, `failed` of them; seconds: of sound, heard in `taken_s` s; left_s: about, None: unknown."""

    files: int
    files_of: int
    failed: int
    seconds: float
    taken_s: float
    left_s: float | None

    @property
    def times_real_time(self) -> float:
        return self.seconds / self.taken_s if self.taken_s > 0 else 0.0


class ProgressTracker:
    """Of one run: only what it hears itself counts. Several threads may tell it of sound."""

    def __init__(self, files: int, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        """files to be heard, and bytes in them."""
        self._files_of, self._size = files, size
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()
        self._seconds = self._bytes = 0.0
        self._files = self._failed = 0

    def moved(self, seconds: float, size: float) -> None:
        """So many more seconds of sound were heard, and with them about so many bytes."""
        with self._lock:
            self._seconds += seconds
            self._bytes += size

    def heard(self, entry: FileResult) -> None:
        """A file is done."""
        with self._lock:
            self._files += 1
            self._failed += entry.error is not None

    def progress(self) -> Progress:
        with self._lock:
            taken = self._clock() - self._began
            left = taken * (self._size - self._bytes) / self._bytes if self._bytes > 0 else None
            return Progress(self._files, self._files_of, self._failed, self._seconds, taken, left)
