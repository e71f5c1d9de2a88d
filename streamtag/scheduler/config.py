"""What an engine keeps to: its limits, in numbers with units."""

from __future__ import annotations

from dataclasses import dataclass

from streamtag.errors import SpecError


@dataclass(frozen=True)
class SchedulerConfig:
    """workers: threads that work; one is enough for a GPU. cores: what all the work may use of the machine; None: one
    a worker. batch: most streams in one step. patience_s: so long the first hop that is due waits for others to share
    its step.

    deadline_s: from a hop being there to its message; later is a miss. While more than 1 hop in 100 is one, and for
    degraded_s after, the engine is degraded and takes no new streams. late_s: a hop of a live stream that has waited
    longer is shed, with those behind it that are older than the deadline.

    buffer_s: sound of one stream that may wait; a producer that is ahead of it has to wait itself. ahead_s: a
    producer that is so far ahead of the clock is no live one: it is never shed, and comes after those that are.

    away_s: how long a stream waits for a producer that broke off. max_streams: how many there is room for, where the
    user knows better than a measurement; None: what measure_s of work on noise tells, and later the CPU time that the
    whole program takes. headroom: the part of the cores' time that streams may fill. farewell_s: how long the end
    waits for what is owed.
    """

    workers: int = 1
    cores: int | None = None
    batch: int = 64
    patience_s: float = 0.025
    deadline_s: float = 0.256
    degraded_s: float = 5.0
    late_s: float = 1.0
    buffer_s: float = 4.0
    ahead_s: float = 1.0
    away_s: float = 10.0
    max_streams: int | None = None
    headroom: float = 0.8
    measure_s: float = 1.5
    farewell_s: float = 5.0

    def __post_init__(self) -> None:
        for name in ("workers", "cores", "batch", "max_streams"):
            value = getattr(self, name)
            left = value is None and name in ("cores", "max_streams")
            if not left and (type(value) is not int or value < 1):
                raise SpecError(f"EngineSpec: {name} must be a positive whole number, not {value!r}")
        for name in (
            "deadline_s",
            "degraded_s",
            "late_s",
            "buffer_s",
            "ahead_s",
            "headroom",
            "measure_s",
            "farewell_s",
        ):
            if not 0 < getattr(self, name) < float("inf"):
                raise SpecError(f"EngineSpec: {name} must be above 0")
        for name in ("patience_s", "away_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise SpecError(f"EngineSpec: {name} must be 0 or more seconds")
        if not self.patience_s < self.deadline_s < self.late_s < self.buffer_s:
            raise SpecError("EngineSpec: patience_s, deadline_s, late_s and buffer_s must each be above the one before")
        if self.headroom > 1:
            raise SpecError("EngineSpec: headroom is a part, and cannot be above 1")
