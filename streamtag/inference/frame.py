"""One frame of probabilities, with its place in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamtag.spec import ScatteringSpec


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

    @classmethod
    def at(cls, index: int, spec: ScatteringSpec, probs: NDArray[np.float32]) -> Self:
        """The frame of that number, which is centred at sample hop * index."""
        centre, half = index * spec.hop, spec.window / 2
        return cls(index, (centre - half) / spec.sample_rate, (centre + half) / spec.sample_rate, probs)

    @property
    def time(self) -> float:
        """The window's centre, s."""
        return (self.start + self.end) / 2
