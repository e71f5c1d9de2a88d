"""Growth of memory over a long run."""

from __future__ import annotations

import numpy as np

SETTLED = 0.4  # share of a run after which memory should not grow any more


class MemoryGrowth:
    """Collect memory readings and fit a line to those of the settled part."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.mib: list[float] = []

    def add(self, seconds: float, mib: float) -> None:
        self.seconds.append(seconds)
        self.mib.append(mib)

    @property
    def mib_per_hour(self) -> float:
        first = int(SETTLED * len(self.mib))
        slope, _ = np.polyfit(self.seconds[first:], self.mib[first:], 1)
        return float(3600 * slope)
