"""The state of the scheduler and its streams, for others to show, and an observer of its work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamtag.errors import CapacityError


class Busy(CapacityError):  # noqa: N818  (an answer, not a defect)
    """There is no room for one more stream now. retry_after_s: when it may be worth asking again, in seconds."""

    def __init__(self, reason: str, retry_after_s: float) -> None:
        super().__init__(f"busy: {reason}")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class SchedulerStats:
    """The scheduler at one moment.

    streams: that have a place, and of these `disconnected`: those that wait for their producer. capacity: streams that
    there is room for. is_degraded: too many deadlines were missed just now. is_measuring: the capacity is a safe number
    for now. retry_after_s: when a refused producer may try again.

    ready: streams that wait for a worker; lag_s: how long the live one that waits longest has waited. hop_cost_s: what
    a hop of one stream costs a worker. utilization: fraction of their time that the workers work.
    """

    streams: int
    disconnected: int
    capacity: int
    is_degraded: bool
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

    def check_room(self) -> None:
        """Raise Busy if there is no room for one more stream."""
        if self.is_degraded:
            raise Busy("what is here already is more than can be done in time", self.retry_after_s)
        if not self.room:
            raise Busy(f"there is room for {self.capacity} streams, and no more", self.retry_after_s)


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


class Observer:
    """Notified of the scheduler's work by the worker that does it, by several at once. This one does nothing."""

    def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:
        """A step of so many streams took so long, with everything from its audio to its messages.

        lags_s: for each hop of a live stream, from the hop being complete to its messages; missed: how many of these
        are beyond the deadline.
        """

    def on_shed(self, seconds: float) -> None:
        """Audio of one stream was dropped unprocessed, and reported as a gap."""
