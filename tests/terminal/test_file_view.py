"""The live view of a file, drawn on a pretended terminal."""

from __future__ import annotations

from contextlib import closing

import pytest

from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Frame
from streamtag.protocol.selection import Selection
from streamtag.terminal.file_view import FileProgressView, format_progress
from tests.terminal.conftest import Screen


def _drawn(screen: Screen, selection: Selection, stream: StreamInfo, frames: list[Frame]) -> list[str]:
    with closing(FileProgressView(screen.console, selection, screen.clock)) as view:
        view.begin(stream, Timeline(stream.name, ()))
        for frame in frames:
            view.write(frame)
        screen.now += 2.0
        return screen.text(view).splitlines()


@pytest.mark.parametrize(
    ("progress", "figures"),
    [
        ((83, 0.8, 232), "1:23 / 3:52  104 x real time  0:02 left"),
        ((10, 10, 20), "0:10 / 0:20  1.0 x real time  0:10 left"),
        ((83, 0.8, None), "1:23  104 x real time"),
        ((0, 0, 60), "0:00 / 1:00"),
        ((61, 1, 60), "1:01 / 1:01  61 x real time  0:00 left"),
    ],
)
def test_progress_is_position_speed_and_remaining_time(
    progress: tuple[float, float, float | None], figures: str
) -> None:
    assert format_progress(*progress) == figures


@pytest.mark.parametrize(("width", "height"), [(80, 24), (20, 5), (200, 60)])
def test_it_fits_the_terminal(frames: list[Frame], width: int, height: int, selection: Selection) -> None:
    many = Selection.of(selection.tags, selection.thresholds, top=6)
    lines = _drawn(Screen(width, height), many, StreamInfo("a very long name of a song " * 5), frames[:1])
    assert len(lines) < height
    assert max(map(len, lines)) <= width


def test_a_terminal_of_ascii_gets_ascii(frames: list[Frame], selection: Selection) -> None:
    text = "\n".join(_drawn(Screen(encoding="ascii"), selection, StreamInfo("song.mp3", duration_s=10.24), frames))
    assert text.isascii()
    assert "####" in text
    assert "====" in text


def test_it_erases_itself(selection: Selection) -> None:
    screen = Screen()
    view = FileProgressView(screen.console, selection)
    view.begin(StreamInfo("song.mp3"), Timeline("song.mp3", ()))
    view.write(End("song.mp3", 1.0, 4, {}))
    view.close()  # a second time does no harm
    assert "song.mp3" in screen.output
    assert screen.output.rstrip("\n").rstrip("\r").endswith("\x1b[2K")  # its lines are erased,
    assert "\x1b[?25h" in screen.output  # and the cursor is back
