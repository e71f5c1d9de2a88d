"""One frame of probabilities, with its place in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TagFrame:
    """The probabilities [tags] of the window from start to end, in stream seconds (start is below 0 once).

    latency_s: of a live stream, how long after the sound at the window's centre they were there.
    """

    index: int
    start: float
    end: float
    probs: NDArray[np.float32]
    latency_s: float | None = None

    @property
    def time(self) -> float:
        """The window's centre, s."""
        return (self.start + self.end) / 2
