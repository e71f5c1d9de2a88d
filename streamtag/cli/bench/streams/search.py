"""The largest number that holds: doubled until one fails, then halved towards it, for as long as there is time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from streamtag.cli.bench.streams.tally import Trial

CLOSE = 0.02  # of the number held: nearer the next failure need not be


@dataclass(frozen=True)
class Found:
    """best: the largest trial that held; None if not even one stream did. failed: the smallest that did not.

    trials: all, in the order in which they were made. bounded: no larger number was allowed.
    """

    best: Trial | None
    failed: Trial | None
    trials: tuple[Trial, ...]
    bounded: bool = False

    @property
    def streams(self) -> int:
        return 0 if self.best is None else self.best.streams

    @property
    def about(self) -> str:
        """How sure it is."""
        if self.failed is not None:
            return f"{self.failed.streams} did not hold"
        return "more were not allowed" if self.bounded else "there was no time for more"


def search(trial: Callable[[int], Trial], first: int, most: int, limit_s: float) -> Found:
    """trial: tries so many streams. first: where to begin, most: where to end; limit_s: s after which no trial begins.

    The numbers go first, 2 first, 4 first ... to the first failure, or down by halves to the first that holds. A
    number fails if it fails twice.
    """
    until = time.monotonic() + limit_s
    trials: list[Trial] = []
    best: Trial | None = None
    failed: Trial | None = None
    number = min(first, most)
    while not trials or time.monotonic() < until:
        trials.append(made := trial(number))
        if not made.held:  # once more: whatever else the machine had to do then speaks against it, never for it
            trials.append(made := trial(number))
        if made.held:
            best = made
        else:
            failed = made
        low = 0 if best is None else best.streams
        if failed is None:
            if low >= most:
                return Found(best, failed, tuple(trials), bounded=True)
            number = min(2 * low, most)
        elif failed.streams - low <= max(1, CLOSE * low):
            break
        else:
            number = (low + failed.streams) // 2
    return Found(best, failed, tuple(trials))
