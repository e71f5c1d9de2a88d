"""How many live streams there is room for: measured once, and followed by what the work costs in earnest."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

MEMORY_S = 10.0  # s of work on every core; time constant with which the cost is followed
SLOWEST, FASTEST = 20.0, 0.1  # times the measured cost; beyond these it was no measurement of ours
# Times the measured cost, until it is known: what a server's sockets add. On two cores a hop over sockets took 1.36
# times that of the engine alone, both at 16 kHz; the cost is measured at 48 kHz, where the engine's part is larger.
COST_MARGIN = 1.3
# Part of the cores' time that the streams should fill; below it they tell nothing of what many would cost: producers
# who all connect at once, or are refused and try again, then cost more than the few streams that there are.
MIN_LOAD = 0.25


@dataclass(frozen=True)
class Cost:
    """CPU time of a step while all workers work, everything included: so long by itself, and so long a stream, in s."""

    step_s: float
    stream_s: float

    def of(self, streams: int) -> float:
        return self.step_s + self.stream_s * streams


class Capacity:
    """Told by all workers; the caller's lock is held around each call."""

    def __init__(self, cost: Cost | None, hop_s: float, cores: int, batch: int, headroom: float, most: int) -> None:
        """cost: as measured; None: it is not, and there is room for `most`. batch: streams in a step when it counts."""
        self._cost = cost
        self._hop_s, self._cores, self._batch, self._headroom, self._most = hop_s, cores, batch, headroom, most
        self._times = COST_MARGIN  # the measured cost
        self._foreseen = 0.0  # by the measured cost, s, of the steps since it was last compared

    @property
    def streams(self) -> int:
        """At least 1."""
        if self._cost is None:
            return self._most
        a_second = self._cores * self._batch / (self._cost.of(self._batch) * self._times)
        return max(1, min(self._most, int(self._headroom * a_second * self._hop_s)))

    def on_step(self, streams: int) -> None:
        """A step of so many."""
        if self._cost is not None:
            self._foreseen += self._cost.of(streams)

    def spent(self, cpu_s: float, passed_s: float) -> None:
        """All that the program did took so much CPU time in passed_s, since the last time that this was told."""
        foreseen, self._foreseen = self._foreseen, 0.0
        if not foreseen or foreseen * self._times < MIN_LOAD * self._cores * passed_s:
            return
        times = min(SLOWEST, max(FASTEST, cpu_s / foreseen))
        self._times += (1 - exp(-cpu_s / (MEMORY_S * self._cores))) * (times - self._times)
