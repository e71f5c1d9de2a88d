"""The last seconds of every tag, in the cells of a sparkline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELLS = 16
FRAMES = 2  # in a cell: with a hop of 0.256 s the cells hold the last 8 s


class History:
    """Each cell holds the mean of its frames [P]; where frames are missing it holds NaN.

    Which frames share a cell follows from their numbers, so a cell that was drawn once stays as it is.
    """

    def __init__(self, size: int) -> None:
        """size: tags."""
        self._cells = np.full((CELLS, size), np.nan)
        self._newest: int | None = None
        self._count = 0

    def add(self, number: int, probs: NDArray[np.floating]) -> None:
        """A frame of the stream; numbers jump where sound was lost, and begin anew with another stream."""
        cell = number // FRAMES
        moved = CELLS if self._newest is None or cell < self._newest else cell - self._newest
        if moved:
            self._cells = np.concatenate([self._cells, np.full((min(moved, CELLS), self._cells.shape[1]), np.nan)])
            self._cells = self._cells[-CELLS:]
            self._count = 0
        self._newest = cell
        before = self._cells[-1] * self._count if self._count else 0.0
        self._count += 1
        self._cells[-1] = (before + probs) / self._count

    @property
    def cells(self) -> NDArray[np.float64]:
        """[CELLS, P], the newest last: a copy."""
        return self._cells.copy()
