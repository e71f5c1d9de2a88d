"""The summary of a stream as a table: plain text in a pipe, colours on a terminal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamtag.inference.timeline import StreamInfo, Timeline, interval_means
from streamtag.protocol.messages import End, Message
from streamtag.protocol.selection import Selection
from streamtag.terminal.widgets import DIM_STYLE, glyphs_for, sparkline
from streamtag.text import format_time, plural

MAX_ROWS = 10  # without --top
CELLS = 30  # of a sparkline
PRESENT_STYLE = "bold green"
PIPE_WIDTH = 100  # characters; nothing wraps or is cut below it


@dataclass(frozen=True)
class Row:
    """One concept or tag over a whole stream. over_time: mean probabilities of up to CELLS equal intervals."""

    name: str
    mean: float
    peak: float
    peak_time: float
    threshold: float
    over_time: NDArray[np.float64]

    @property
    def is_present(self) -> bool:
        return self.mean >= self.threshold


def rows(timeline: Timeline, selection: Selection) -> list[Row]:
    """Return the strongest labels by mean, strongest first; none if there are no frames."""
    if not len(timeline):
        return []
    means = timeline.means
    return [
        Row(
            name=timeline.labels[index],
            mean=float(means[index]),
            peak=float(timeline.peaks[index]),
            peak_time=float(timeline.peak_times[index]),
            threshold=selection.thresholds[index],
            over_time=interval_means(timeline.probs[:, index], CELLS),
        )
        for index in selection.strongest(means, MAX_ROWS)
    ]


class SummaryTable:
    """A sink that prints the table of each stream when it ends, and marks what reaches its threshold in the mean."""

    def __init__(self, file: TextIO, selection: Selection) -> None:
        self._console = results_console(file)
        self._selection = selection
        self._timeline = Timeline("", selection.labels)
        self._glyphs = glyphs_for(file.encoding)

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        self._timeline = timeline

    def write(self, message: Message) -> None:
        if isinstance(message, End):
            frames = plural(message.frames, "frame")
            figures = f"  {format_time(message.seconds)}  {frames}"
            self._console.print(Text.assemble((message.stream, "bold"), (figures, DIM_STYLE)), soft_wrap=True)
            if message.frames:
                self._console.print(self._table())
            self._console.print()

    def close(self) -> None:
        pass

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=DIM_STYLE)
        table.add_column("")
        table.add_column(self._selection.kind, no_wrap=True)
        for name in ("mean", "max", "at"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("over time", no_wrap=True)
        for row in rows(self._timeline, self._selection):
            style = PRESENT_STYLE if row.is_present else ""
            mark = Text("*" if row.is_present else " ", style)
            numbers = (f"{row.mean:.2f}", f"{row.peak:.2f}", format_time(row.peak_time))
            over_time = sparkline(row.over_time, row.threshold, self._glyphs, DIM_STYLE)
            table.add_row(mark, Text(row.name, style), *(Text(number, style) for number in numbers), over_time)
        return table


class ResultsConsole(Console):
    """A console that raises BrokenPipeError instead of ending the program."""

    def on_broken_pipe(self) -> None:
        raise  # rich calls this while it handles the error


def results_console(file: TextIO) -> Console:
    """Return a console with colours on a terminal, and plain text of a fixed width elsewhere."""
    width = None if file.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return ResultsConsole(file=file, highlight=False, markup=False, emoji=False, width=width)
