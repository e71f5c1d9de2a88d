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
from streamtag.terminal.sparkline import characters_for, sparkline
from streamtag.text import format_time, plural

ROWS = 10  # where the user sets no --top
CELLS = 30  # of a sparkline
PRESENT, ABSENT = "bold green", "bright_black"
PIPE_WIDTH = 100  # characters; nothing wraps or is cut below it


@dataclass(frozen=True)
class Row:
    """One tag over a whole stream. course: mean probabilities of up to CELLS equal stretches of time."""

    tag: str
    mean: float
    peak: float
    peak_time: float
    threshold: float
    course: NDArray[np.float64]

    @property
    def present(self) -> bool:
        return self.mean >= self.threshold

    @property
    def full(self) -> float:
        """The probability drawn as the tallest cell: no tag below its threshold looks like a strong one."""
        return max(self.threshold, float(self.course.max(initial=0.0)))


def rows(timeline: Timeline, selection: Selection) -> list[Row]:
    """The strongest tags by mean, strongest first. Empty where there are no frames."""
    if not len(timeline):
        return []
    means, result = timeline.means, []
    for index in selection.strongest(means, ROWS):
        row = Row(
            tag=selection.tags[index],
            mean=float(means[index]),
            peak=float(timeline.peaks[index]),
            peak_time=float(timeline.peak_times[index]),
            threshold=selection.thresholds[index],
            course=interval_means(timeline.probs[:, index], CELLS),
        )
        result.append(row)
    return result


class SummaryTable:
    """A sink that prints the table of each stream when it ends. Tags whose mean reaches their threshold are marked."""

    def __init__(self, file: TextIO, selection: Selection) -> None:
        self._console = results_console(file)
        self._selection = selection
        self._timeline = Timeline("", selection.tags)
        self._characters = characters_for(file.encoding)

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        self._timeline = timeline

    def write(self, message: Message) -> None:
        if isinstance(message, End):
            self._print(self._timeline)

    def close(self) -> None:
        pass

    def _print(self, timeline: Timeline) -> None:
        frames = plural(len(timeline), "frame")
        title = Text.assemble((timeline.name, "bold"), (f"  {format_time(timeline.seconds)}  {frames}", ABSENT))
        self._console.print(title, soft_wrap=True)
        if len(timeline):
            self._console.print(self._table(rows(timeline, self._selection)))
        self._console.print()

    def _table(self, strongest: list[Row]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=ABSENT)
        table.add_column("")
        table.add_column("tag", no_wrap=True)
        for name in ("mean", "max", "at"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("over time", no_wrap=True)
        for row in strongest:
            style = PRESENT if row.present else ""
            course = Text()
            for height in row.course:
                cell = sparkline(np.array([height]), row.full, self._characters)
                course.append(cell, "green" if height >= row.threshold else ABSENT)
            numbers = (f"{row.mean:.2f}", f"{row.peak:.2f}", format_time(row.peak_time))
            mark = Text("*" if row.present else " ", style)
            table.add_row(mark, Text(row.tag, style), *(Text(number, style) for number in numbers), course)
        return table


class ResultsConsole(Console):
    """A console that lets a closed pipe be the caller's business."""

    def on_broken_pipe(self) -> None:
        raise  # rich calls this while it handles the error


def results_console(file: TextIO) -> Console:
    """Colours on a terminal, plain text of a fixed width elsewhere."""
    wide = None if file.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return ResultsConsole(file=file, highlight=False, markup=False, emoji=False, width=wide)
