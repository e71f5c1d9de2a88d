"""The table of a stream's summary as lines of any width: figures, and the course over time above a time axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from streamtag.inference.timeline import interval_means
from streamtag.terminal.widgets import DIM_STYLE, GAP, Glyphs, new_titles, sparkline, table_line
from streamtag.text import format_time, time_step

MIN_CELLS, ROOMY_CELLS = 12, 30  # of a course: with fewer there is none; with more there is room for the peak
MIN_NAME, MAX_NAME = 4, 24  # characters
PRESENT_STYLE = "bold green"
LEGEND = "* present: on for at least a quarter of the time"


@dataclass(frozen=True)
class Row:
    """One concept or tag over a whole stream. share: of the stream, for which it was on. peak_time: in seconds.

    over_time [F]: its probabilities; is_on [F]: whether it was on.
    """

    name: str
    category: str
    is_present: bool
    share: float
    mean: float
    peak: float
    peak_time: float
    threshold: float
    over_time: NDArray[np.floating]
    is_on: NDArray[np.bool_]

    @property
    def figures(self) -> dict[str, str]:
        """The row's figures by the name of their column."""
        figures = {"on": f"{self.share:.0%}", "mean": f"{self.mean:.2f}", "max": f"{self.peak:.2f}"}
        return figures | {"at": format_time(self.peak_time)}


def table_lines(rows: Sequence[Row], start: float, end: float, kind: str, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield the lines of the table, at most `width` cells wide; the columns that there is no room for are left out.

    start, end: of the stream, in seconds. kind: `concept` or `tag`.
    """
    categories, figures = [row.category for row in rows], [row.figures for row in rows]
    columns = {
        "": new_titles(categories) if any(categories) else [""] * len(rows),
        kind: [f"{'*' if row.is_present else ' '} {row.name}" for row in rows],
        **{heading: [each[heading] for each in figures] for heading in figures[0]},
    }
    widths, cells = _fit(columns, kind, width)

    def line(texts: Mapping[str, str], course: Text, style: str) -> Text:
        result = table_line(texts, widths, style)
        if cells:
            result.append_text(course)
        result.rstrip()
        return result

    yield line({heading: heading for heading in columns} | {kind: f"  {kind}"}, Text("over time", DIM_STYLE), DIM_STYLE)
    for number, row in enumerate(rows):
        is_on = interval_means(row.is_on, cells) >= 0.5
        course = sparkline(interval_means(row.over_time, cells), is_on, row.threshold, glyphs, DIM_STYLE)
        texts = {heading: column[number] for heading, column in columns.items()}
        yield line(texts, course, PRESENT_STYLE if row.is_present else "")
    if cells:
        yield line({}, Text(time_axis(start, end, min(cells, len(rows[0].over_time))), DIM_STYLE), DIM_STYLE)
    yield Text(set_cell_size(LEGEND, min(width, len(LEGEND))), DIM_STYLE)


def _fit(columns: Mapping[str, Sequence[str]], kind: str, width: int) -> tuple[dict[str, int], int]:
    """Return the widths of the columns for which there is room, and the cells of the course: 0 if there is none."""
    widths = {heading: max(map(cell_len, [heading, *texts])) for heading, texts in columns.items()}
    widths[kind] = min(len("* ") + MAX_NAME, max(len("* ") + len(kind), widths[kind]))
    for left_out, enough in (((), ROOMY_CELLS), (("max", "at"), MIN_CELLS), (("max", "at", ""), MIN_CELLS)):
        fitting = {heading: size for heading, size in widths.items() if size and heading not in left_out}
        cells = width - sum(fitting.values()) - len(GAP) * len(fitting)
        if cells >= enough:
            return fitting, cells
    few = {heading: widths[heading] for heading in ("on", "mean")}
    room = width - sum(few.values()) - len(GAP) * len(few)
    name = max(len("* ") + MIN_NAME, min(widths[kind], room))
    return {kind: name, **(few if name <= room else {})}, 0


def time_axis(start: float, end: float, cells: int) -> str:
    """Return round times below a course of this many cells, as many as have room.

    A time stands right of the mark at the place that it means.
    """
    length = max(end - start, 1e-9)
    step = time_step(length * (len(format_time(end)) + 3) / max(1, cells))
    text = ""
    for time in np.arange(np.ceil(start / step) * step, end, step).tolist():
        label = f"|{format_time(time)}"
        place = int((time - start) / length * cells)
        if place + len(label) <= cells:
            text = text.ljust(place) + label
    return text
