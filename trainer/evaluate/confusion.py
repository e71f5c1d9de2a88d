"""Tags that are taken for each other, beyond what their going together explains.

Among the clips that have tag i, tag j is given to a certain share, and is predicted with a certain mean
probability. Where the second is larger, the system hears j in i.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.manifest import Array


@dataclass(frozen=True)
class Confusion:
    """given, predicted [C, C]: row i, column j: share of the clips with tag i that have j, and the mean
    probability of j among them. NaN in the rows of tags that no clip has."""

    given: NDArray[np.float64]
    predicted: NDArray[np.float64]

    @property
    def excess(self) -> NDArray[np.float64]:
        return self.predicted - self.given

    def strongest(self, count: int) -> list[tuple[int, int]]:
        """Pairs (i, j) of different tags in which j is overestimated most."""
        excess = np.where(np.isfinite(self.excess), self.excess, -np.inf)
        np.fill_diagonal(excess, -np.inf)
        order = np.argsort(-excess, axis=None, kind="stable")[:count]
        pairs = [tuple(divmod(int(place), len(excess))) for place in order]
        return [(i, j) for i, j in pairs if np.isfinite(excess[i, j])]


def confusion(predicted: Array, given: NDArray[np.bool_]) -> Confusion:
    """Of probabilities [n, C] and what is given [n, C]."""
    has = given.astype(np.float64)
    clips = has.sum(axis=0)[:, None]
    rows = np.where(clips > 0, clips, np.nan)
    return Confusion(has.T @ has / rows, has.T @ predicted.astype(np.float64) / rows)
