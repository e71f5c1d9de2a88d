"""Tags that are confused with each other, beyond their true co-occurrence.

A certain share of the clips with tag i also has tag j, and among these clips tag j is predicted with a certain mean
probability. Where the second is larger, the system confuses i with j.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.manifest import Array


@dataclass(frozen=True)
class Confusion:
    """Co-occurrence `given` and mean probability `predicted` [C, C] of tag j among the clips with tag i (the row).

    Rows of tags that no clip has are NaN.
    """

    given: NDArray[np.float64]
    predicted: NDArray[np.float64]

    @property
    def excess(self) -> NDArray[np.float64]:
        return self.predicted - self.given

    def strongest(self, count: int) -> list[tuple[int, int]]:
        """Return the pairs (i, j) of different tags in which j is overestimated most."""
        excess = np.where(np.isfinite(self.excess), self.excess, -np.inf)
        np.fill_diagonal(excess, -np.inf)
        order = np.argsort(-excess, axis=None, kind="stable")[:count]
        pairs = [tuple(divmod(int(index), len(excess))) for index in order]
        return [(i, j) for i, j in pairs if np.isfinite(excess[i, j])]


def confusion(predicted: Array, positive: NDArray[np.bool_]) -> Confusion:
    """Compare probabilities [n, C] with positives [n, C]."""
    has = positive.astype(np.float64)
    clips = has.sum(axis=0)[:, None]
    rows = np.where(clips > 0, clips, np.nan)
    return Confusion(has.T @ has / rows, has.T @ predicted.astype(np.float64) / rows)
