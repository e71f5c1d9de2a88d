"""The live view, drawn by hand on a pretended terminal."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Frame
from streamtag.protocol.selection import Selection
from streamtag.terminal.file_view import FileProgressView, Progress

MakeMessages = Callable[..., list[Frame]]


TIMELINE = Timeline("song.mp3", ())


class Clock:
    """Seconds, moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def _console(width: int = 80, height: int = 24) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="standard",
        width=width,
        height=height,
        legacy_windows=False,
    )


def _text(panel: FileProgressView, console: Console) -> list[str]:
    """What is drawn now, without colours."""
    plain = Console(file=io.StringIO(), width=console.width, height=console.height, color_system=None)
    with plain.capture() as captured:
        plain.print(panel.render())
    return captured.get().splitlines()


@pytest.mark.parametrize(
    ("progress", "figures"),
    [
        (Progress(83, 0.8, 232), "1:23 / 3:52  104 x real time  0:02 left"),
        (Progress(10, 10, 20), "0:10 / 0:20  1.0 x real time  0:10 left"),
        (Progress(83, 0.8, None), "1:23  104 x real time"),
        (Progress(0, 0, 60), "0:00 / 1:00"),
        (Progress(61, 1, 60), "1:01 / 1:01  61 x real time  0:00 left"),
    ],
)
def test_progress_is_position_speed_and_remaining_time(progress: Progress, figures: str) -> None:
    assert str(progress) == figures


def test_the_view_names_the_stream_its_progress_and_the_strongest_tags(
    make_messages: MakeMessages, selection: Selection, probs: NDArray[np.float64]
) -> None:
    console, clock = _console(), Clock()
    panel = FileProgressView(console, selection, clock)
    panel.begin(StreamInfo("song [live].mp3", 1, 3, duration_s=20.48), TIMELINE)
    try:
        for frame in make_messages(probs):
            panel.write(frame)
        clock.now += 2.0
        lines = _text(panel, console)
    finally:
        panel.close()
    assert lines[0].split() == ["song", "[live].mp3", "2", "of", "3"]
    assert "0:10 / 0:20" in lines[1]
    assert "left" in lines[1]
    assert [line.split()[0] for line in lines[3:6]] == ["guitar", "drums", "harp"]
    assert lines[3].rstrip().endswith("0.59")
    assert max(map(len, lines)) < 80  # a terminal writes ^C behind the last line


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (20, 5), (200, 60)])
def test_it_fits_the_terminal(
    make_messages: MakeMessages, width: int, height: int, probs: NDArray[np.float64], selection: Selection
) -> None:
    console, clock = _console(width, height), Clock()
    many = Selection.of(selection.tags, selection.thresholds, top=6)
    panel = FileProgressView(console, many, clock)
    panel.begin(StreamInfo("a very long name of a song " * 5), TIMELINE)
    try:
        panel.write(make_messages(probs)[0])
        clock.now += 1
        lines = _text(panel, console)
    finally:
        panel.close()
    assert len(lines) < height
    assert max(map(len, lines)) <= width


def test_a_terminal_of_ascii_gets_ascii(
    make_messages: MakeMessages, selection: Selection, probs: NDArray[np.float64]
) -> None:
    file = io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True)
    console = Console(file=file, force_terminal=True, width=80, height=24, legacy_windows=False)
    clock = Clock()
    panel = FileProgressView(console, selection, clock)
    panel.begin(StreamInfo("song.mp3", duration_s=10.24), TIMELINE)
    try:
        for frame in make_messages(probs):
            panel.write(frame)
        clock.now += 2.0
        text = "\n".join(_text(panel, console))
    finally:
        panel.close()
    assert text.isascii()
    assert "####" in text
    assert "====" in text


def test_it_erases_itself(selection: Selection) -> None:
    console = _console()
    panel = FileProgressView(console, selection)
    panel.begin(StreamInfo("song.mp3"), TIMELINE)
    panel.write(End("song.mp3", 1.0, 4, {}))
    panel.close()  # a second time does no harm
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "song.mp3" in output
    assert output.rstrip("\n").rstrip("\r").endswith("\x1b[2K")  # its lines are erased,
    assert "\x1b[?25h" in output  # and the cursor is back
