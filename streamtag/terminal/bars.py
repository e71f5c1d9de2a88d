"""Probabilities as the eye wants them: calm bars, in the characters that the terminal has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from streamtag.terminal.sparkline import ASCII, BLOCKS, characters_for

BAR_SECONDS, ORDER_SECONDS = 0.25, 1.5  # time constants: bars follow the sound, their order stays readable
WIDEST = 100  # characters
PRESENT, ABSENT, QUIET = "green", "cyan", "bright_black"


@dataclass(frozen=True)
class Glyphs:
    """What is drawn with. parts: a cell filled more and more, from empty; mark: a threshold; courses: eight heights;
    done and rest: of a progress line; dot: between two things that are told."""

    parts: str
    mark: str
    courses: str
    done: str
    rest: str
    dot: str


FINE = Glyphs(" ▏▎▍▌▋▊▉█", "╎", BLOCKS, "━", "─", "·")
PLAIN = Glyphs(" #", ":", ASCII, "=", "-", "|")


def strokes_for(encoding: str | None) -> Glyphs:
    """Fine ones where the encoding has them, else ASCII."""
    return FINE if characters_for(encoding) == BLOCKS else PLAIN


class Smoother:
    """Probabilities as the eye wants them: the mean of what came since the last look, drawn out over time.

    One thread adds, another looks.
    """

    def __init__(self, size: int) -> None:
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

    def look(self, elapsed: float) -> None:
        """Moves `bars` and `order` on by `elapsed` seconds of the clock."""
        with self._lock:
            if self._count:
                self._target = self._sum / self._count
                self._sum = np.zeros_like(self._sum)
                self._count = 0
        self.bars += (1 - math.exp(-elapsed / BAR_SECONDS)) * (self._target - self.bars)
        self.order += (1 - math.exp(-elapsed / ORDER_SECONDS)) * (self._target - self.order)


def bar(value: float, threshold: float, width: int, strokes: Glyphs = FINE) -> Text:
    """A bar of `value` in `width` cells, with a mark where the tag's threshold lies."""
    steps = len(strokes.parts) - 1  # of a cell
    filled = round(min(1.0, max(0.0, value)) * width * steps)
    cells = strokes.parts[-1] * (filled // steps) + (strokes.parts[filled % steps] if filled % steps else "")
    text = Text(cells.ljust(width), PRESENT if value >= threshold else ABSENT)
    mark = min(width - 1, int(threshold * width))
    if mark >= len(cells):
        text = Text.assemble(text[:mark], (strokes.mark, QUIET), text[mark + 1 :])
    return text
