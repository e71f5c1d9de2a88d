"""A clock that only the test and what sleeps by it move."""

from __future__ import annotations

import math


class FakeClock:
    """Seconds that pass while somebody sleeps, or by what a test adds to `now`. extra_s: that the next sleep takes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.extra_s = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now = max(self.now + seconds + self.extra_s, math.nextafter(self.now, math.inf))
        self.extra_s = 0.0
