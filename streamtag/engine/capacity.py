"""How many live streams there is room for: measured once, and followed by what the work costs in earnest."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

MEMORY_S = 10.0  # s of work; time constant with which the cost is followed
SLOWEST, FASTEST = 20.0, 0.1  # times the measured cost; beyond these it was no measurement of ours


@dataclass(frozen=True)
class Cost:
    """What a step costs one of the workers while all of them work: so long by itself, and so long a stream, in s."""

    step_s: float
    stream_s: float

    def of(self, streams: int) -> float:
        return self.step_s + self.stream_s * streams


class Capacity:
    """Told by all workers; the caller's lock is held around each call."""

    def __init__(self, cost: Cost | None, hop_s: float, workers: int, batch: int, headroom: float, most: int) -> None:
        """cost: as measured; None: it is not, and there is room for `most`. batch: streams in a step when it counts."""
        self._cost = cost
        self._hop_s, self._workers, self._batch, self._headroom, self._most = hop_s, workers, batch, headroom, most
        self._times = 1.0  # the measured cost

    @property
    def streams(self) -> int:
        """At least 1."""
        if self._cost is None:
            return self._most
        a_second = self._workers * self._batch / (self._cost.of(self._batch) * self._times)
        return max(1, min(self._most, int(self._headroom * a_second * self._hop_s)))

    def ticked(self, streams: int, seconds: float) -> None:
        """A step of so many took so long."""
        if self._cost is None:
            return
        times = min(SLOWEST, max(FASTEST, seconds / self._cost.of(streams)))
        self._times += (1 - exp(-seconds / (MEMORY_S * self._workers))) * (times - self._times)
