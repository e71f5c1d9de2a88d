"""Bars of concepts or tags: within each category the strongest first, with calm transitions, and each as a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from streamtag.inference.presence import category_rank
from streamtag.protocol.selection import Selection
from streamtag.terminal.widgets import DIM_STYLE, GAP, Glyphs, bar, category_title, new_titles, sparkline

MIN_CATEGORY_WIDTH, MIN_HISTORY_WIDTH = 64, 44  # of the terminal, from which on these are shown
HOLD_S = 1.0  # for so long a label must have been the stronger one before it moves above another
MARGIN = 0.02  # of probability, by which it must be the stronger one

Groups = tuple[tuple[int, ...], ...]  # columns by category, each in its order


class Ranking:
    """The order of the chosen labels by category. With --top there is one group of all, from which the first are shown.

    A label rises above those that it has been stronger than for hold_s without a break. The others keep their order.
    """

    def __init__(self, selection: Selection, hold_s: float = HOLD_S) -> None:
        self._hold_s = hold_s
        categories = sorted({selection.categories[n] for n in selection.chosen}, key=category_rank)
        members = [[n for n in selection.chosen if selection.categories[n] == category] for category in categories]
        self._members = [list(selection.chosen)] if selection.top else members
        self._orders = [list(range(len(group))) for group in self._members]
        self._ahead_s = [np.zeros((len(group), len(group))) for group in self._members]  # [i, j]: i before j

    def sort(self, values: NDArray[np.floating]) -> None:
        """Sort at once by the values [P + K], highest first."""
        for place, group in enumerate(self._members):
            self._orders[place] = np.argsort(-values[group], kind="stable").tolist()
            self._ahead_s[place][:] = 0

    def advance(self, values: NDArray[np.floating], elapsed_s: float) -> None:
        """Move labels that have been the stronger ones for long enough; elapsed_s: since the last call."""
        for place, (group, ahead_s) in enumerate(zip(self._members, self._ahead_s, strict=True)):
            own = values[group]
            ahead_s += elapsed_s
            ahead_s[own[:, np.newaxis] <= own + MARGIN] = 0
            order: list[int] = []
            for label in self._orders[place]:
                weaker = np.flatnonzero(ahead_s[label, order] >= self._hold_s)
                order.insert(int(weaker[0]) if len(weaker) else len(order), label)
            self._orders[place] = order

    @property
    def groups(self) -> Groups:
        """The columns of each category in their order."""
        pairs = zip(self._members, self._orders, strict=True)
        return tuple(tuple(group[label] for label in order) for group, order in pairs)


def visible_rows(groups: Groups, on: NDArray[np.bool_], selection: Selection, rows: int) -> list[int]:
    """Return the columns that at most so many rows show, by category: those that are on, then the first.

    Each category always has the same number of rows, so that its place does not depend on the sound. on [P + K].
    """
    if selection.top:
        columns = list(groups[0][: min(rows, selection.top)])
        return sorted(columns, key=lambda column: category_rank(selection.categories[column]))
    counts = allot_rows([len(group) for group in groups], rows)
    result: list[int] = []
    for group, count in zip(groups, counts, strict=True):
        shown = sorted(group, key=lambda column: not on[column])[:count]
        result += [column for column in group if column in shown]
    return result


def allot_rows(sizes: Sequence[int], rows: int) -> list[int]:
    """Return how many of the rows each category of these sizes gets: by the square root of its size, none too many.

    Row after row goes to the category with the highest quotient of that and its next number (D'Hondt's method).
    """
    counts = [0] * len(sizes)
    for _ in range(min(rows, sum(sizes))):
        quotients = [
            size**0.5 / (count + 1) if count < size else 0.0 for size, count in zip(sizes, counts, strict=True)
        ]
        counts[int(np.argmax(quotients))] += 1
    return counts


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
