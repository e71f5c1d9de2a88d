"""How far a run is: in figures, as lines, and on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from streamtag.catalog.progress import Progress, ProgressTracker
from streamtag.catalog.progress_bar import EVERY_S, ProgressBar, line
from streamtag.catalog.result import FileResult


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _entry(error: str | None = None) -> FileResult:
    return FileResult("/a", 1000, 0, "m", error=error)


def test_the_tally_knows_speed_and_what_is_left() -> None:
    clock = Clock()
    tally = ProgressTracker(4, 4000, clock)
    assert tally.progress() == Progress(0, 4, 0, 0.0, 0.0, None)
    tally.moved(600.0, 1000.0)
    tally.heard(_entry())
    tally.heard(_entry("is empty"))
    clock.now += 2
    progress = tally.progress()
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
def test_a_line_says_all(progress: Progress, text: str) -> None:
    assert line(progress) == text


def test_where_there_is_no_terminal_a_line_comes_now_and_then() -> None:
    clock, said, out = Clock(), list[str](), io.StringIO()
    with ProgressBar(Console(file=out), said.append, clock) as bar:
        for _ in range(40):
            clock.now += EVERY_S / 10
            bar.show(Progress(1, 2, 0, 60.0, 1.0, 1.0))
    assert len(said) == 4
    assert out.getvalue() == ""


def test_on_a_terminal_a_bar_moves_and_is_gone_at_the_end() -> None:
    said, out = list[str](), io.StringIO()
    with ProgressBar(Console(file=out, force_terminal=True, width=120), said.append) as bar:
        bar.show(Progress(1, 2, 0, 60.0, 1.0, None))
        bar.show(Progress(1, 2, 0, 60.0, 1.0, 3.0))
    assert "1 of 2 files, 1.0 min of sound, 60 times real time, 0:03 left" in out.getvalue()
    assert out.getvalue().rstrip("\n").endswith("\x1b[2K")
    assert said == []
