"""How far a run is, for people: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

from streamtag.audio.source import Closing
from streamtag.catalog.progress import Progress
from streamtag.text import format_time

EVERY_S = 10.0  # s between two lines


class ProgressBar(Closing):
    """On standard error."""

    def __init__(
        self, console: Console, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """say: takes a line where the console is no terminal."""
        self._say, self._clock = say, clock
        self._said = clock()
        self._bar: RichProgress | None = None
        if console.is_terminal:
            self._bar = RichProgress(
                BarColumn(None), TextColumn("{task.description}"), console=console, transient=True, expand=True
            )
            self._task = self._bar.add_task("", total=None)
            self._bar.start()

    def show(self, progress: Progress) -> None:
        if self._bar is not None:
            done = progress.taken_s / (progress.taken_s + progress.left_s) if progress.left_s is not None else 0
            self._bar.update(self._task, description=line(progress), completed=done, total=1)
        elif self._clock() - self._said >= EVERY_S:
            self._said = self._clock()
            self._say(line(progress))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def line(progress: Progress) -> str:
    """Such as `120 of 3,021 files, 8.1 h of sound, 412 times real time, 31:12 left`."""
    parts = [f"{progress.files:,} of {progress.files_of:,} files"]
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    parts += [f"{hours(progress.seconds)} of sound", f"{progress.times_real_time:.0f} times real time"]
    if progress.left_s is not None:
        parts.append(f"{format_time(progress.left_s)} left")
    return ", ".join(parts)


def hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
