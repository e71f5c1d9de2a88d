"""The summary of a stream: its verdict in one line, and a table. Plain text in a pipe, colours on a terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import ceil
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text

from streamtag.inference.presence import (
    Verdict,
    category_rank,
    end_verdict,
    format_verdict,
    group_names,
    on_over_time,
    present_seconds,
    selected_present,
)
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import Sink
from streamtag.terminal.summary_table import Row, table_lines
from streamtag.terminal.widgets import DIM_STYLE, glyphs_for
from streamtag.text import format_length

MIN_ROWS = 10  # without --top, where the terminal has room
MAX_ROWS = 100  # in a pipe
OTHER_LINES = 5  # of the terminal, beside the verdict: header, time axis, legend, a blank line and the prompt
PIPE_WIDTH = 100  # characters; nothing wraps or is cut below it


class SummaryTable(Sink):
    """A sink that prints the verdict of each stream in one line when it ends, and a table of what led to it."""

    def __init__(self, file: TextIO, selection: Selection, *, table: bool = True) -> None:
        """table: whether the table follows the line."""
        self._console = results_console(file)
        self._is_terminal = file.isatty()
        self._selection = selection
        self._has_table = table
        self._timeline = Timeline("", selection.labels)
        self._glyphs = glyphs_for(file.encoding)

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        self._timeline = timeline

    def write(self, message: Message) -> None:
        if not isinstance(message, End):
            return
        timeline, selection = self._timeline, self._selection
        present_s = present_seconds(timeline, selection)
        present = selected_present(timeline, selection, present_s)
        verdict = group_names(present, selection.labels, selection.categories)
        line = verdict_line(message.stream, message.seconds, verdict)
        self._console.print(line, soft_wrap=True)
        if self._has_table and message.frames:
            width, height = self._console.size
            room = max(1, height - OTHER_LINES - ceil(line.cell_len / width)) if self._is_terminal else MAX_ROWS
            rows = make_rows(timeline, selection, present, present_s, room)
            for line in table_lines(rows, timeline.start_s, timeline.end_s, selection.kind, width, self._glyphs):
                self._console.print(line, soft_wrap=True)
            self._console.print()


class VerdictLines(Sink):
    """A sink that prints, when it is closed, a line with the verdict of each of several streams that was heard."""

    def __init__(self, file: TextIO, selection: Selection, names: Sequence[str]) -> None:
        """names: of the streams, in the order of the lines."""
        self._console = results_console(file)
        self._selection = selection
        self._names = names
        self._ended: dict[str, End] = {}

    def write(self, message: Message) -> None:
        if isinstance(message, End) and message.frames:
            self._ended[message.stream] = message

    def close(self) -> None:
        for end in (self._ended[name] for name in self._names if name in self._ended):
            verdict = end_verdict(end, self._selection)
            self._console.print(verdict_line(end.stream, end.seconds, verdict), soft_wrap=True)


def make_rows(
    timeline: Timeline, selection: Selection, present: list[int], present_s: NDArray[np.floating], max_rows: int
) -> list[Row]:
    """Return the rows of the table, by category and strongest first.

    With --top as many as it says; else what was on at some time, at least MIN_ROWS and at most max_rows. What is
    present in the stream has precedence, then what was on, then what is strong.
    """
    means = timeline.means
    order = sorted(selection.chosen, key=lambda n: (n not in present, present_s[n] <= 0, -means[n]))
    count = selection.top or min(max_rows, max(MIN_ROWS, int((present_s[order] > 0).sum())))
    columns = sorted(order[:count], key=lambda n: (category_rank(selection.categories[n]), -means[n]))
    on = on_over_time(timeline, selection, columns)
    return [
        Row(
            name=timeline.labels[column],
            category=selection.categories[column],
            is_present=column in present,
            share=float(present_s[column] / max(timeline.seconds, 1e-9)),
            mean=float(means[column]),
            peak=float(timeline.peaks[column]),
            peak_time=float(timeline.peak_times[column]),
            threshold=selection.thresholds[column],
            over_time=timeline.probs[:, column],
            is_on=on[:, place],
        )
        for place, column in enumerate(columns)
    ]


def verdict_line(stream: str, seconds: float, verdict: Verdict) -> Text:
    """Return `song.mp3  1:13  guitar, strings; techno`."""
    return Text.assemble((stream, "bold"), (f"  {format_length(seconds)}  ", DIM_STYLE), format_verdict(verdict))


def ended_line(end: End, selection: Selection) -> str:
    """Return what a stream's last message says of its length, and what was present."""
    verdict = format_verdict(end_verdict(end, selection))
    return f"{end.stream}: ended after {format_length(end.seconds)}: {verdict}"


class ResultsConsole(Console):
    """A console that raises BrokenPipeError instead of ending the program."""

    def on_broken_pipe(self) -> None:
        raise  # rich calls this while it handles the error


def results_console(file: TextIO) -> Console:
    """Return a console with colours on a terminal, and plain text of a fixed width elsewhere."""
    width = None if file.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return ResultsConsole(file=file, highlight=False, markup=False, emoji=False, width=width)
