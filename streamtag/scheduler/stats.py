"""The state of the scheduler and its streams, for others to show, and an observer of its work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SchedulerStats:
    """The scheduler at one moment.

    streams: that have a place, and of these `disconnected`: those that wait for their producer. capacity: streams that
    there is room for. is_degraded: too many deadlines were missed just now. is_starting: the workers have not started.
    is_measuring: the capacity is a safe number for now. retry_after_s: when a refused producer may try again.

    ready: streams that wait for a worker; lag_s: how long the live one that waits longest has waited. hop_cost_s: what
    a hop of one stream costs a worker. utilization: fraction of their time that the workers work.
    """

    streams: int
    disconnected: int
    capacity: int
    is_degraded: bool
    is_starting: bool
    retry_after_s: float
    ready: int
    lag_s: float
    hop_cost_s: float
    utilization: float
    is_measuring: bool = False

    @property
    def room(self) -> int:
        """Streams that would be admitted."""
        return 0 if self.is_degraded else max(0, self.capacity - self.streams)


@dataclass(frozen=True, slots=True)
class StreamStats:
    """One stream at one moment. seconds: of audio so far. lag_s: from its last hop being complete to its message.
    waiting_s: audio that waits. shed_s: audio that was shed. is_live: its producer is not faster than the clock."""

    name: str
    seconds: float
    lag_s: float
    waiting_s: float
    shed_s: float
    is_live: bool
    is_disconnected: bool


class Observer(Protocol):
    """Notified of the scheduler's work by the worker that does it, by several at once."""

    def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:
        """A step of so many streams took so long, with everything from its audio to its messages.

        lags_s: for each hop of a live stream, from the hop being complete to its messages; missed: how many of these
        are beyond the deadline.
        """

    def on_shed(self, seconds: float) -> None:
        """Audio of one stream was dropped unprocessed, and reported as a gap."""


class NullObserver:
    """An observer that does nothing."""

    def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:
        del streams, seconds, lags_s, missed

    def on_shed(self, seconds: float) -> None:
        del seconds
