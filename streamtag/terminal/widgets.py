"""What the views are drawn with: characters, bars, sparklines, smoothed values and their history."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from rich.cells import set_cell_size
from rich.console import Console, RenderableType
from rich.text import Text

from streamtag.sinks.base import Sink

if TYPE_CHECKING:
    from rich.live import Live

BAR_TIME_S, ORDER_TIME_S = 0.25, 0.5  # time constants: bars follow the sound, their order stays readable
ON_STYLE, OFF_STYLE, DIM_STYLE = "green", "cyan", "bright_black"
GAP = "  "  # between columns
COURSE_CELLS = 60
FRAMES_PER_CELL = 2  # with a hop of 0.256 s the course covers the last 31 s


@dataclass(frozen=True)
class Glyphs:
    """Characters to draw with. fill: a cell from empty to full; mark: a threshold; heights: eight of a sparkline;
    done, remaining: of a progress line; dot: a mark on a scale."""

    fill: str
    mark: str
    heights: str
    done: str
    remaining: str
    dot: str


UNICODE = Glyphs(" ▏▎▍▌▋▊▉█", "╎", "▁▂▃▄▅▆▇█", "━", "─", "·")
ASCII = Glyphs(" #", ":", "_.:-=+*#", "=", "-", "|")


def glyphs_for(encoding: str | None) -> Glyphs:
    """Return block characters where the encoding has them, else ASCII."""
    try:
        UNICODE.heights.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def can_draw(console: Console) -> bool:
    """Return whether the console is a terminal on which lines can be drawn over."""
    return console.is_terminal and not console.is_dumb_terminal


class LiveView(Sink):
    """A sink that draws itself on the terminal while it is shown. Implement `render`."""

    def __init__(self, console: Console, redraws_per_s: float | None, *, screen: bool = False) -> None:
        """redraws_per_s: from a thread of its own; None: only when `redraw` is called.

        screen: on the terminal's second screen, which stays right when the window is resized.
        """
        self._console = console
        self._redraws_per_s = redraws_per_s
        self._screen = screen
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self.show()
        return self

    def __exit__(self, *error: object) -> None:
        self.hide()

    @property
    def is_shown(self) -> bool:
        """Whether it is on the terminal now."""
        return self._live is not None

    def show(self) -> None:
        """Start drawing."""
        if self._live is None:
            from rich.live import Live  # late: results without a view do without it

            # Results go to standard output by other ways: nothing may be caught and drawn here.
            self._live = Live(
                console=self._console,
                screen=self._screen,
                auto_refresh=self._redraws_per_s is not None,
                refresh_per_second=self._redraws_per_s or 1,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                get_renderable=self.render,
            )
            self._live.start(refresh=self._screen)

    def hide(self) -> None:
        """Erase the view, if it is shown."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def close(self) -> None:
        self.hide()

    def redraw(self) -> None:
        """Draw the view as it is now."""
        if self._live is not None:
            self._live.refresh()

    @abstractmethod
    def render(self) -> RenderableType:
        """Return the view as it is now."""


def bar(value: float, threshold: float, width: int, is_on: bool, glyphs: Glyphs = UNICODE) -> Text:
    """Return a bar of `value` in `width` cells, coloured by is_on; with a mark at a threshold that is not infinite."""
    steps = len(glyphs.fill) - 1  # per cell
    filled = round(min(1.0, max(0.0, value)) * width * steps)
    cells = glyphs.fill[-1] * (filled // steps) + (glyphs.fill[filled % steps] if filled % steps else "")
    text = Text(cells.ljust(width), ON_STYLE if is_on else OFF_STYLE)
    mark = min(width - 1, int(min(threshold, 1.0) * width))
    if mark >= len(cells) and threshold < math.inf:
        text = Text.assemble(text[:mark], (glyphs.mark, DIM_STYLE), text[mark + 1 :])
    return text


def category_title(category: str) -> str:
    """Return what a category is called above its concepts."""
    return {"instrument": "instruments", "mood": "mood and tempo", "": "other"}.get(category, category)


def new_titles(categories: Sequence[str]) -> list[str]:
    """Return the title of each category where a new one begins, and an empty text for each that goes on."""
    before = [None, *categories]
    return ["" if each == last else category_title(each) for each, last in zip(categories, before, strict=False)]


def table_line(cells: Mapping[str, str], widths: Mapping[str, int], style: str = "") -> Text:
    """Return cells side by side, each in the width of its column, by name: names at the left, figures at the right.

    The column without a name is that of categories. style: of the others.
    """
    line = Text()
    for name, width in widths.items():
        cell = cells.get(name, "")
        text = set_cell_size(cell, width) if name in ("", "concept", "tag") else cell.rjust(width)
        line.append(text, style if name else DIM_STYLE)
        line.append(GAP)
    return line


def sparkline(
    values: NDArray[np.floating],
    is_on: NDArray[np.bool_],
    threshold: float,
    glyphs: Glyphs = UNICODE,
    off_style: str = OFF_STYLE,
) -> Text:
    """Return one character per probability in values [C], coloured where it is on; blank where it is NaN.

    The tallest cell is the largest value or the threshold, so that a weak tag never looks like a strong one.
    """
    is_known = ~np.isnan(values)
    heights = np.where(is_known, values, 0.0)
    full = max(min(threshold, 1.0), float(heights.max(initial=0.0)), 1e-9)
    steps = np.clip(heights / full * len(glyphs.heights), 0, len(glyphs.heights) - 1).astype(int)
    text = Text()
    for step, known, on in zip(steps.tolist(), is_known.tolist(), is_on.tolist(), strict=True):
        text.append(glyphs.heights[step] if known else " ", ON_STYLE if known and on else off_style)
    return text


class Smoother:
    """Probabilities smoothed for display: the mean of the frames since the last drawing, approached over time.

    One thread adds, another advances and reads `bars` and `order` [P].
    """

    def __init__(self, size: int) -> None:
        """size: number of tags."""
        self._lock = Lock()
        self._sum = np.zeros(size)
        self._count = 0
        self._target = np.zeros(size)
        self.bars = np.zeros(size)
        self.order = np.zeros(size)

    def add(self, probs: NDArray[np.floating]) -> None:
        with self._lock:
            self._sum += probs
            self._count += 1

    def advance(self, elapsed_s: float) -> None:
        """Move `bars` and `order` on by this time of the clock."""
        with self._lock:
            if self._count:
                self._target = self._sum / self._count
                self._sum = np.zeros_like(self._sum)
                self._count = 0
        self.bars += (1 - math.exp(-elapsed_s / BAR_TIME_S)) * (self._target - self.bars)
        self.order += (1 - math.exp(-elapsed_s / ORDER_TIME_S)) * (self._target - self.order)


class CourseCells:
    """The last seconds of every tag. Each cell holds the mean of its frames [P], or NaN where frames are missing.

    Which frames share a cell follows from their numbers, so a cell that was drawn once stays as it is.
    """

    def __init__(self, size: int) -> None:
        """size: number of tags."""
        self._cells = np.full((COURSE_CELLS, size), np.nan)
        self._newest: int | None = None
        self._count = 0

    def add(self, number: int, probs: NDArray[np.floating]) -> None:
        """Add a frame. Numbers jump where audio was lost, and restart with another stream."""
        cell = number // FRAMES_PER_CELL
        moved = COURSE_CELLS if self._newest is None or cell < self._newest else cell - self._newest
        if moved:
            blank = np.full((min(moved, COURSE_CELLS), self._cells.shape[1]), np.nan)
            self._cells = np.concatenate([self._cells, blank])[-COURSE_CELLS:]
            self._count = 0
        self._newest = cell
        before = self._cells[-1] * self._count if self._count else 0.0
        self._count += 1
        self._cells[-1] = (before + probs) / self._count

    @property
    def cells(self) -> NDArray[np.float64]:
        """[COURSE_CELLS, P], the newest last: a copy."""
        return self._cells.copy()
