"""Lines with bars: a concept or tag each, with its category, its mark, a bar, the number, and its last seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from streamtag.protocol.selection import Selection
from streamtag.terminal.ranking import Groups, visible_rows
from streamtag.terminal.widgets import DIM_STYLE, Glyphs, bar, category_title, new_titles, sparkline

MIN_CATEGORY_WIDTH, MIN_HISTORY_WIDTH = 64, 44  # of the terminal, from which on these are shown
GAP = "  "


@dataclass(frozen=True)
class BarValues:
    """What the bars of a stream show. bars [P + K]: smoothed probabilities; on [P + K]: whether each is present.

    groups: the columns by category, in the order of display.

    history, history_on [C, P + K]: probabilities of the last seconds, NaN where unknown, and whether each was present;
    C may be 0.
    """

    bars: NDArray[np.float64]
    on: NDArray[np.bool_]
    history: NDArray[np.float64]
    history_on: NDArray[np.bool_]
    groups: Groups


def bar_lines(values: BarValues, selection: Selection, glyphs: Glyphs, width: int, rows: int) -> Iterator[Text]:
    """Yield at most `rows` lines of at most `width` cells, one for each label that has room, by category."""
    columns = visible_rows(values.groups, values.on, selection, rows)
    categories = [selection.categories[column] for column in selection.chosen]
    has_titles = width >= MIN_CATEGORY_WIDTH and any(categories)
    title_width = max(cell_len(category_title(category)) for category in categories) if has_titles else 0
    name_width = min(max(cell_len(name) for name in selection.names), max(8, width // 3))
    fixed = (title_width + len(GAP) if has_titles else 0) + len("* ") + name_width + len(GAP) + len("  0.00")
    room = width - fixed
    cells = min(len(values.history), (room - len(GAP)) * 2 // 5) if width >= MIN_HISTORY_WIDTH else 0
    bar_width = max(4, room - (cells + len(GAP) if cells else 0))
    for column, title in zip(columns, new_titles([selection.categories[n] for n in columns]), strict=True):
        value, threshold, is_on = float(values.bars[column]), selection.thresholds[column], bool(values.on[column])
        style, line = "bold" if is_on else DIM_STYLE, Text()
        if has_titles:
            line.append(set_cell_size(title, title_width) + GAP, DIM_STYLE)
        line.append(f"{'*' if is_on else ' '} {cut(selection.labels[column], name_width, pad=True)}{GAP}", style)
        line.append_text(bar(value, threshold, bar_width, is_on, glyphs))
        line.append(f"{GAP}{value:.2f}", style)
        if cells:
            course, on = values.history[-cells:, column], values.history_on[-cells:, column]
            line.append(GAP)
            line.append_text(sparkline(course, on, threshold, glyphs))
        line.truncate(width)
        yield line


def cut(text: str, width: int, pad: bool = False) -> str:
    """Return the text in at most `width` cells; with `pad`, in exactly as many."""
    width = max(0, width)
    if cell_len(text) > width:
        return set_cell_size(text, width) if width < 4 else set_cell_size(text, width - 2) + ".."
    return set_cell_size(text, width) if pad else text
