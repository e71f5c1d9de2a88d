"""The table of a stream's summary as lines of any width: figures, and the course over time above a time axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from streamtag.inference.timeline import interval_means
from streamtag.terminal.widgets import DIM_STYLE, Glyphs, new_titles, sparkline
from streamtag.text import format_time, time_step

MIN_CELLS, ROOMY_CELLS = 12, 30  # of a course: with fewer there is none; with more there is room for the peak
MAX_NAME = 24  # characters
GAP = "  "
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
    categories = [row.category for row in rows]
    titles = new_titles(categories) if any(categories) else [""] * len(rows)
    layout = _Layout.fit(rows, kind, max(map(cell_len, titles)), width)
    yield layout.line("", " ", kind, layout.headings, Text("over time"), DIM_STYLE)
    for row, title in zip(rows, titles, strict=True):
        means = interval_means(row.over_time, layout.cells)
        is_on = interval_means(row.is_on, layout.cells) >= 0.5
        course = sparkline(means, is_on, row.threshold, glyphs, DIM_STYLE)
        style = PRESENT_STYLE if row.is_present else ""
        yield layout.line(title, "*" if row.is_present else " ", row.name, row.figures, course, style)
    if layout.cells:
        cells = min(layout.cells, len(rows[0].over_time)) if rows else 0
        yield layout.line("", " ", "", {}, Text(time_axis(start, end, cells)), DIM_STYLE)
    yield Text(set_cell_size(LEGEND, min(width, len(LEGEND))), DIM_STYLE)


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


@dataclass(frozen=True)
class _Layout:
    """Widths of the columns in cells. cells: of the course; 0 for none. widths: of the figures, by heading."""

    category: int
    name: int
    widths: dict[str, int]
    cells: int

    @classmethod
    def fit(cls, rows: Sequence[Row], kind: str, category: int, width: int) -> _Layout:
        """Return the layout with the most columns for which there is room."""
        name = min(MAX_NAME, max(len(kind), *(cell_len(row.name) for row in rows)))
        full = {heading: max(len(heading), *(len(row.figures[heading]) for row in rows)) for heading in rows[0].figures}
        few = {heading: full[heading] for heading in ("on", "mean")}
        for titles, figures, enough in ((category, full, ROOMY_CELLS), (category, few, MIN_CELLS), (0, few, MIN_CELLS)):
            layout = cls(titles, name, figures, 0)
            cells = width - layout.width - len(GAP)
            if cells >= enough:
                return cls(titles, name, figures, cells)
        name = max(4, min(name, width - len("* ") - sum(few.values()) - 2 * len(GAP)))
        return cls(0, name, few if name + 2 + sum(few.values()) + 2 * len(GAP) <= width else {}, 0)

    @property
    def width(self) -> int:
        """Cells before the course."""
        figures = sum(self.widths.values()) + len(GAP) * len(self.widths)
        return (self.category + len(GAP) if self.category else 0) + len("* ") + self.name + figures

    @property
    def headings(self) -> dict[str, str]:
        return {heading: heading for heading in self.widths}

    def line(self, title: str, mark: str, name: str, figures: dict[str, str], course: Text, style: str) -> Text:
        """Return a line; style: of all but the title and the course."""
        text = Text()
        if self.category:
            text.append(set_cell_size(title, self.category) + GAP, DIM_STYLE)
        text.append(f"{mark} {set_cell_size(name, self.name)}", style)
        for heading, width in self.widths.items():
            text.append(GAP + figures.get(heading, "").rjust(width), style)
        if self.cells:
            text.append(GAP)
            text.append_text(course)
        text.rstrip()
        return text
