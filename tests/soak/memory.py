"""Growth of memory over a long run."""

from __future__ import annotations

import numpy as np

SETTLED = 0.4  # share of a run after which memory should not grow any more


def mib_per_hour(readings: list[tuple[float, float]]) -> float:
    """Return the slope of a line through the readings (s, MiB) of the settled part."""
    seconds, mib = np.array(readings[int(SETTLED * len(readings)) :]).T
    return float(3600 * np.polyfit(seconds, mib, 1)[0])
