"""The summary of a stream."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.inference.frame import TagFrame
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End
from streamtag.protocol.selection import Selection
from streamtag.terminal.summary import CELLS, MAX_ROWS, SummaryTable, results_console, rows

MakeTimeline = Callable[..., Timeline]


class Pipe(io.StringIO):
    encoding = "utf-8"


class Terminal(Pipe):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _a_plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def _printed(file: io.StringIO, timeline: Timeline, selection: Selection) -> str:
    table = SummaryTable(file, selection)
    table.begin(StreamInfo(timeline.name), timeline)
    table.write(End(timeline.name, timeline.seconds, len(timeline), {}))
    return file.getvalue()


def test_rows_hold_mean_peak_and_course_of_the_strongest_tags(
    make_timeline: MakeTimeline, selection: Selection, probs: NDArray[np.float64]
) -> None:
    guitar, drums, harp = rows(make_timeline(probs), selection)[:3]
    assert [row.name for row in (guitar, drums, harp)] == ["guitar", "drums", "harp"]
    assert guitar.mean == pytest.approx(probs[:, 0].mean(), abs=1e-6)
    assert guitar.peak == pytest.approx(0.98)
    assert guitar.peak_time == pytest.approx(39 * 0.256)
    assert harp.peak_time == pytest.approx(30 * 0.256)
    assert len(guitar.over_time) == CELLS
    assert guitar.is_present
    assert not drums.is_present  # 0.475 on the average, below 0.5
    assert harp.is_present  # weak, but a rare tag


def test_a_terminal_gets_colours_and_a_pipe_plain_text_in_columns(
    make_timeline: MakeTimeline, selection: Selection, probs: NDArray[np.float64]
) -> None:
    timeline = make_timeline(probs, seconds=75)
    assert "\x1b[" in _printed(Terminal(), timeline, selection)
    text = _printed(Pipe(), timeline, selection)
    lines = text.splitlines()
    assert "\x1b" not in text
    assert lines[0] == "song.mp3  1:15  40 frames"
    assert lines[1].split() == ["tag", "mean", "max", "at", "over", "time"]
    assert lines[2].split()[:5] == ["*", "guitar", "0.59", "0.98", "0:09"]
    assert lines[3].split()[:2] == ["drums", "0.47"]  # not marked: below its threshold
    assert len(lines[2].split()[5]) == CELLS
    assert all(line[1:2] in (" ", "") for line in lines[1:])


def test_there_are_ten_rows_unless_top_says_otherwise() -> None:
    tags = tuple(f"tag {index}" for index in range(50))
    timeline = Timeline("song.mp3", tags)
    assert rows(timeline, Selection.of(tags, (0.5,) * 50)) == []
    timeline.add(TagFrame(0, -0.256, 0.256, np.linspace(0, 1, 50, dtype=np.float32)))
    assert len(rows(timeline, Selection.of(tags, (0.5,) * 50))) == MAX_ROWS
    assert len(rows(timeline, Selection.of(tags, (0.5,) * 50, top=33))) == 33


def test_names_are_printed_as_they_are(make_timeline: MakeTimeline, selection: Selection) -> None:
    name = "[bold]" + "long " * 60 + ":smile:.mp3"
    text = _printed(Pipe(), make_timeline(np.zeros((1, 6)), name=name), selection)
    assert text.splitlines()[0] == f"{name}  0:00  1 frame"


def test_a_stream_without_frames_has_no_table(make_timeline: MakeTimeline, selection: Selection) -> None:
    assert _printed(Pipe(), make_timeline(np.zeros((0, 6))), selection) == "song.mp3  0:00  0 frames\n\n"


def test_a_closed_pipe_raises_an_error() -> None:
    class Closed(Pipe):
        def write(self, text: str) -> int:  # noqa: ARG002
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        results_console(Closed()).print("x")
