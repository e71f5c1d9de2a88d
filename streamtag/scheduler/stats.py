"""How an engine is doing, as others see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SchedulerStats:
    """streams: that have a place now, and of these `away`: those that wait for their producer. capacity: how many
    there is room for. degraded: too many deadlines were missed of late. retry_after_s: what a refused producer is told.

    due: streams that wait to be stepped. lag_s: the longest that one of them has waited, s. cost_s: what a hop of
    one stream costs one worker of late, s; busy: the part of their time that the workers work.
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

    @property
    def room(self) -> int:
        """How many more streams would be let in."""
        return 0 if self.is_degraded else max(0, self.capacity - self.streams)


@dataclass(frozen=True, slots=True)
class StreamStats:
    """One stream. seconds: of sound so far. lag_s: from its last hop being there to its message. waiting_s: sound
    that waits to be heard. shed_s: sound that was shed. live: it comes no faster than time goes."""

    name: str
    seconds: float
    lag_s: float
    waiting_s: float
    shed_s: float
    is_live: bool
    is_disconnected: bool


class Observer(Protocol):
    """Is told what the engine does, as it happens, by the worker that does it: several at once may tell it."""

    def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:
        """One step of so many streams took so long, all work on its sound and its messages included.

        lags_s: for each hop of a live stream in it, from the hop being there to its messages being told;
        missed: how many of these are beyond the deadline.
        """

    def on_shed(self, seconds: float) -> None:
        """So much sound of one stream was thrown away unheard, and told as a gap."""


class NullObserver:
    """Looks away."""

    def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:
        del streams, seconds, lags_s, missed

    def on_shed(self, seconds: float) -> None:
        del seconds
