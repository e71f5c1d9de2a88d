"""Limits of the scheduler, in numbers with units."""

from __future__ import annotations

from dataclasses import dataclass

from streamtag.spec.base import Spec


@dataclass(frozen=True)
class SchedulerConfig(Spec):
    """Hold the limits of a Scheduler. Raises SpecError if they are not numbers that fit each other.

    workers: worker threads; one is enough for a GPU. cores: CPU cores that all the work may use; None: one per worker.
    batch: streams in one step, at most. batch_window_s: how long the first ready hop waits for others to share its
    step.

    deadline_s: time from a hop being complete to its message; later is a miss. While more than 1 hop in 100 is a miss,
    and for degraded_s afterwards, the scheduler is degraded and admits no new streams. shed_after_s: a hop of a live
    stream that has waited longer is shed, together with those behind it that are older than the deadline.

    buffer_s: audio of one stream that may wait; a producer that is further ahead has to pause. max_lead_s: a producer
    that is further ahead of the clock is not live: it is never shed, and comes after those that are.

    reconnect_grace_s: how long a stream waits for a producer whose connection broke. max_streams: how many streams
    there is room for, where the user knows better than a measurement; None: as measured for measure_s with noise, and
    later from the CPU time of the whole program. headroom: fraction of the cores' time that streams may use.
    drain_timeout_s: how long closing waits for hops that are still to be computed.
    """

    workers: int = 1
    cores: int | None = None
    batch: int = 64
    batch_window_s: float = 0.025
    deadline_s: float = 0.256
    degraded_s: float = 5.0
    shed_after_s: float = 1.0
    buffer_s: float = 4.0
    max_lead_s: float = 1.0
    reconnect_grace_s: float = 10.0
    max_streams: int | None = None
    headroom: float = 0.8
    measure_s: float = 1.5
    drain_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        optional = [name for name in ("cores", "max_streams") if getattr(self, name) is not None]
        self._check_integers("workers", "batch", *optional)
        self._check_seconds("batch_window_s", "reconnect_grace_s")
        limits = ("batch_window_s", "deadline_s", "shed_after_s", "buffer_s")
        values = [getattr(self, name) for name in limits]
        self._check(values == sorted(set(values)), f"{', '.join(limits)} must increase in this order")
        self._check(0 < self.headroom <= 1, "headroom is a fraction above 0, and cannot be above 1")
