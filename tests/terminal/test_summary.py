"""The summary of a stream: a line and a table."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.cells import cell_len

from streamtag.inference.frame import TagFrame
from streamtag.inference.presence import present_seconds, selected_present
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End
from streamtag.protocol.selection import Selection
from streamtag.terminal.summary import MIN_ROWS, SummaryTable, make_rows, results_console
from streamtag.terminal.summary_table import LEGEND, Row, table_lines, time_axis
from streamtag.terminal.widgets import UNICODE
from tests.conftest import MakeTimeline


class Pipe(io.StringIO):
    encoding = "utf-8"


class Terminal(Pipe):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _a_plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def _printed(file: io.StringIO, timeline: Timeline, selection: Selection, *, table: bool = True) -> str:
    summary = SummaryTable(file, selection, table=table)
    summary.begin(StreamInfo(timeline.name), timeline)
    summary.write(End(timeline.name, timeline.seconds, len(timeline), {}))
    return file.getvalue()


def _rows(timeline: Timeline, selection: Selection, room: int = 100) -> list[Row]:
    present_s = present_seconds(timeline, selection)
    return make_rows(timeline, selection, selected_present(timeline, selection, present_s), present_s, room)


def test_rows_hold_share_mean_and_peak_of_the_strongest_tags(
    make_timeline: MakeTimeline, selection: Selection, probs: NDArray[np.float64]
) -> None:
    guitar, drums, harp = _rows(make_timeline(probs), selection)[:3]
    assert [row.name for row in (guitar, drums, harp)] == ["guitar", "drums", "harp"]
    assert guitar.mean == pytest.approx(probs[:, 0].mean(), abs=1e-6)
    assert guitar.peak == pytest.approx(0.98)
    assert guitar.peak_time == pytest.approx(39 * 0.256)
    assert harp.peak_time == pytest.approx(30 * 0.256)
    assert all(row.is_present for row in (guitar, drums, harp))  # the drums for a half, weak harp all the time
    assert drums.share == pytest.approx(drums.is_on.mean(), abs=0.03) == pytest.approx(0.55, abs=0.1)
    assert drums.is_on[:20].all()
    assert not drums.is_on[30:].any()
    assert harp.share == 1


def test_a_terminal_gets_colours_and_a_pipe_plain_text_in_columns(
    make_timeline: MakeTimeline, selection: Selection, probs: NDArray[np.float64]
) -> None:
    timeline = make_timeline(probs, seconds=10.24)
    assert "\x1b[" in _printed(Terminal(), timeline, selection)
    text = _printed(Pipe(), timeline, selection)
    lines = text.splitlines()
    assert "\x1b" not in text
    assert lines[0] == "song.mp3  0:10  guitar, drums, harp"
    assert lines[1].split() == ["tag", "on", "mean", "max", "at", "over", "time"]
    assert lines[2].split()[:6] == ["*", "guitar", "57%", "0.59", "0.98", "0:09"]
    assert lines[9:] == [LEGEND, ""]


def test_the_number_of_rows_depends_on_what_was_on_the_room_and_top() -> None:
    tags = tuple(f"tag {index}" for index in range(50))
    timeline = Timeline("song.mp3", tags)
    selection = Selection.of(tags, (0.5,) * 50)
    for number in range(20):
        timeline.add(TagFrame(number, number * 0.256, number * 0.256, np.linspace(0, 1, 50, dtype=np.float32)))
    timeline.seconds = 5.0
    assert len(_rows(timeline, selection)) == 25  # above 0.5
    assert len(_rows(timeline, selection, 7)) == 7
    assert len(_rows(timeline, Selection.of(tags, (1.0,) * 50))) == MIN_ROWS
    assert len(_rows(timeline, Selection.of(tags, (0.5,) * 50, top=33), 7)) == 33


def _row(name: str, category: str, frames: int = 200) -> Row:
    over_time = np.linspace(0, 1, frames)
    return Row(name, category, True, 0.5, 0.5, 1.0, 51.0, 0.5, over_time, over_time > 0.5)


@pytest.mark.parametrize("width", [1, 10, 20, 30, 40, 60, 80, 120, 200])
def test_the_table_fits_any_width(width: int) -> None:
    rows = [_row("guitar", "instrument"), _row("a tag with a very long name indeed", "genre")]
    lines = [line.plain for line in table_lines(rows, 0.0, 51.2, "concept", width, UNICODE)]
    assert max(map(cell_len, lines)) <= max(width, 6)
    assert len(lines) == (5 if width >= 60 else 4)
    assert ("instruments" in lines[1]) == (width >= 80)
    assert (" 1.00 " in lines[1]) == (width >= 120)  # the peak is left out first
    if width >= 60:
        assert max(map(cell_len, lines[1:3])) == width  # the course takes what is left


def test_the_time_axis_has_round_times_at_their_places() -> None:
    assert time_axis(0.0, 60.0, 40) == "|0:00     |0:15     |0:30     |0:45"
    assert time_axis(0.0, 60.0, 8) == "|0:00"
    assert time_axis(0.0, 7300.0, 60).split() == ["|0:00", "|30:00", "|1:00:00", "|1:30:00"]
    assert time_axis(0.0, 0.5, 30) == "|0:00"
    assert time_axis(0.0, 10.0, 2) == ""
    assert time_axis(90.0, 150.0, 40) == "|1:30     |1:45     |2:00     |2:15"


def test_names_are_printed_as_they_are(make_timeline: MakeTimeline, selection: Selection) -> None:
    name = "[bold]" + "long " * 60 + ":smile:.mp3"
    text = _printed(Pipe(), make_timeline(np.zeros((1, 6)), name=name), selection)
    assert text.splitlines()[0] == f"{name}  0:00  nothing certain"


def test_a_stream_without_frames_has_no_table(make_timeline: MakeTimeline, selection: Selection) -> None:
    assert _printed(Pipe(), make_timeline(np.zeros((0, 6))), selection) == "song.mp3  0:00  nothing certain\n"


def test_a_closed_pipe_raises_an_error() -> None:
    class Closed(Pipe):
        def write(self, text: str) -> int:  # noqa: ARG002
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        results_console(Closed()).print("x")
