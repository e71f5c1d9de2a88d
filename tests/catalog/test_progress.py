"""The progress of a run: as figures, as lines, and as a bar on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from streamtag.catalog.progress import LINE_INTERVAL_S, Progress, ProgressBar, ProgressTracker
from streamtag.catalog.result import FileResult


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_tracker_measures_speed_and_estimates_what_is_left() -> None:
    clock = Clock()
    tracker = ProgressTracker(4, 4000, clock)
    assert tracker.progress() == Progress(0, 4, 0, 0.0, 0.0, None)
    tracker.advance(600.0, 1000.0)
    tracker.finish(FileResult("/a", "a", 1000, 0, "m"))
    tracker.finish(FileResult("/a", "a", 1000, 0, "m", error="is empty"))
    clock.now += 2
    progress = tracker.progress()
    assert progress == Progress(2, 4, 1, 600.0, 2.0, 6.0)
    assert progress.times_real_time == 300


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(0, 3, 0, 0.0, 0.0, None), "0 of 3 files, 0.0 min of sound, 0 times real time"),
        (
            Progress(1234, 5678, 2, 36000.0, 100.0, 3727.0),
            "1,234 of 5,678 files, 2 failed, 10.0 h of sound, 360 times real time, 1:02:07 left",
        ),
    ],
)
def test_progress_is_a_line_of_text(progress: Progress, text: str) -> None:
    assert str(progress) == text


def test_without_a_terminal_a_line_is_written_now_and_then() -> None:
    clock, lines, out = Clock(), list[str](), io.StringIO()
    with ProgressBar(Console(file=out), lines.append, clock) as bar:
        for _ in range(40):
            clock.now += LINE_INTERVAL_S / 10
            bar.show(Progress(1, 2, 0, 60.0, 1.0, 1.0))
    assert len(lines) == 4
    assert out.getvalue() == ""


def test_on_a_terminal_a_bar_moves_and_is_erased_at_the_end() -> None:
    lines, out = list[str](), io.StringIO()
    with ProgressBar(Console(file=out, force_terminal=True, width=120), lines.append) as bar:
        bar.show(Progress(1, 2, 0, 60.0, 1.0, None))
        bar.show(Progress(1, 2, 0, 60.0, 1.0, 3.0))
    assert "1 of 2 files, 1.0 min of sound, 60 times real time, 0:03 left" in out.getvalue()
    assert out.getvalue().rstrip("\n").endswith("\x1b[2K")
    assert lines == []
