"""The progress of a run: measured, as a line, as a bar on a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

from streamtag.audio.source import Closing
from streamtag.catalog.result import FileResult
from streamtag.text import format_time

LINE_INTERVAL_S = 10.0  # between two lines where there is no terminal


@dataclass(frozen=True)
class Progress:
    """files of `total_files`, `failed` of them; seconds of audio, tagged in `elapsed_s`; left_s: None if unknown."""

    files: int
    total_files: int
    failed: int
    seconds: float
    elapsed_s: float
    left_s: float | None

    @property
    def times_real_time(self) -> float:
        return self.seconds / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def __str__(self) -> str:
        """Such as `120 of 3,021 files, 8.1 h of sound, 412 times real time, 31:12 left`."""
        parts = [f"{self.files:,} of {self.total_files:,} files"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        parts += [f"{format_duration(self.seconds)} of sound", f"{self.times_real_time:.0f} times real time"]
        if self.left_s is not None:
            parts.append(f"{format_time(self.left_s)} left")
        return ", ".join(parts)


class ProgressTracker:
    """The progress of one run, without what was known before. Several threads may report audio."""

    def __init__(self, files: int, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        """files to be tagged, and their bytes."""
        self._total_files, self._size = files, size
        self._clock = clock
        self._started_at = clock()
        self._lock = threading.Lock()
        self._seconds = self._bytes = 0.0
        self._files = self._failed = 0

    def advance(self, seconds: float, size: float) -> None:
        """Add seconds of audio, and about as many bytes."""
        with self._lock:
            self._seconds += seconds
            self._bytes += size

    def finish(self, result: FileResult) -> None:
        """Count a file that is done."""
        with self._lock:
            self._files += 1
            self._failed += result.error is not None

    def progress(self) -> Progress:
        with self._lock:
            elapsed = self._clock() - self._started_at
            left = elapsed * (self._size - self._bytes) / self._bytes if self._bytes > 0 else None
            return Progress(self._files, self._total_files, self._failed, self._seconds, elapsed, left)


class ProgressBar(Closing):
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(
        self, console: Console, write_line: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """write_line: called where the console is no terminal."""
        self._write_line, self._clock = write_line, clock
        self._last_line_at = clock()
        self._bar: RichProgress | None = None
        if console.is_terminal:
            self._bar = RichProgress(
                BarColumn(None), TextColumn("{task.description}"), console=console, transient=True, expand=True
            )
            self._task = self._bar.add_task("", total=None)
            self._bar.start()

    def show(self, progress: Progress) -> None:
        if self._bar is not None:
            left = progress.left_s
            done = 0.0 if left is None else progress.elapsed_s / (progress.elapsed_s + left)
            self._bar.update(self._task, description=str(progress), completed=done, total=1)
        elif self._clock() - self._last_line_at >= LINE_INTERVAL_S:
            self._last_line_at = self._clock()
            self._write_line(str(progress))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def format_duration(seconds: float) -> str:
    """Return `8.1 h`, or `12.5 min` below one hour."""
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
