"""Whether the work is done in time, and how much more there is room for."""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from time import process_time

from streamtag.scheduler.capacity import Capacity
from streamtag.scheduler.config import SchedulerConfig

RETRY_S = 10.0  # s; after which a place may be free again where all are taken
LEAST_S = 1.0
MEMORY_S = 5.0  # s; time constant of what is told about the work
READ_S = 0.5  # s between two readings of the CPU time
LATE = 0.01  # part of the hops; where more miss the deadline there are too many streams


class Health:
    """Used under the engine's lock."""

    def __init__(
        self, capacity: Capacity, spec: SchedulerConfig, now: float, cpu_s: Callable[[], float] = process_time
    ) -> None:
        """cpu_s: CPU time so far of all that belongs to the program."""
        self.capacity = capacity
        self._cpu_s = cpu_s
        self._read = now, cpu_s()
        self.cost_s = 0.0  # of a hop of one stream
        self._spec = spec
        self._missed = float("-inf")  # when too many deadlines were, the last time
        self._hops = self._late = 0.0  # of late, and those that missed it
        self._told = now
        self._busy = [0.0] * spec.workers
        self._seen = [now] * spec.workers

    def busy(self, now: float) -> float:
        """The part of their time that the workers work."""
        idle = [max(0.0, now - seen) for seen in self._seen]  # or still at their first step: it shows when it is done
        return sum(busy * exp(-s / MEMORY_S) for busy, s in zip(self._busy, idle, strict=True)) / len(self._busy)

    @property
    def batch(self) -> int:
        """As many streams as a step does in half the time in which a hop has to be done, at least 1."""
        return max(1, int(self._spec.deadline_s / 2 / self.cost_s)) if self.cost_s else self._spec.batch

    def degraded(self, now: float) -> bool:
        return now - self._missed < self._spec.degraded_s

    def retry_after_s(self, now: float) -> float:
        left = self._missed + self._spec.degraded_s - now
        return max(LEAST_S, left) if left > 0 else RETRY_S

    def on_step(self, worker: int, streams: int, seconds: float, missed: int, now: float) -> None:
        """A step of so many hops took a worker so long; so many were too late."""
        keep = exp(-max(0.0, now - self._told) / self._spec.degraded_s)
        self._told = now
        self._hops, self._late = keep * self._hops + streams, keep * self._late + missed
        if missed and self._late > LATE * self._hops:
            self._missed = now
        if streams:
            self.capacity.on_step(streams)
            self._compare(now)
            new = 1 - exp(-seconds / MEMORY_S)
            self.cost_s += (new if self.cost_s else 1.0) * (seconds / streams - self.cost_s)
        passed = max(now - self._seen[worker], seconds, 1e-9)
        self._seen[worker] = now
        self._busy[worker] += (1 - exp(-passed / MEMORY_S)) * (seconds / passed - self._busy[worker])

    def _compare(self, now: float) -> None:
        """Every so often: what all the work took."""
        before, cpu_s = self._read
        if now - before >= READ_S:
            self._read = now, self._cpu_s()
            self.capacity.spent(self._read[1] - cpu_s, now - before)
