"""Which streams wait for a worker, and which of them it takes next."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.stream import ScheduledStream

BULK = 16  # streams of files in one step, so that a live one never waits long for it

Waiting = tuple[bool, float, int, ScheduledStream]


class ReadyQueue:
    """Live streams before files, urgent ones before others, who waits longest first. Used under the engine's lock."""

    def __init__(self, spec: SchedulerConfig) -> None:
        self._spec = spec
        self._live: list[Waiting] = []
        self._bulk: list[Waiting] = []
        self._count = count()  # no two streams are compared themselves

    def __len__(self) -> int:
        return len(self._live) + len(self._bulk)

    @property
    def live(self) -> int:
        """Of them, the live ones."""
        return len(self._live)

    def lag_s(self, now: float) -> float:
        """How long the live stream that waits longest has done so."""
        return max(0.0, now - self._live[0][1]) if self._live else 0.0

    def add(self, stream: ScheduledStream, since: float, now: float) -> bool:
        """since: it waits already. -> whether a worker should look."""
        if stream.inlet.live:
            heappush(self._live, (not stream.urgent, since, next(self._count), stream))
            return len(self._live) in (1, self._spec.batch)
        heappush(self._bulk, (False, now, next(self._count), stream))  # in turns, however old what waits in them is
        return len(self._bulk) == 1

    def next(self, now: float, most: int) -> list[ScheduledStream]:
        """Enough live ones for a step, or those there are if one has waited long enough; else files; or nobody.

        most: streams in one step that is done in good time.
        """
        most = min(most, self._spec.batch)
        if len(self._live) >= most or (self._live and now >= self._live[0][1] + self._spec.batch_window_s):
            return _taken(self._live, most)
        return _taken(self._bulk, min(most, BULK))

    def nap_s(self, now: float) -> float | None:
        """How long a worker that found nobody may sleep, unless somebody comes."""
        return max(0.0, self._live[0][1] + self._spec.batch_window_s - now) if self._live else None


def _taken(waiting: list[Waiting], most: int) -> list[ScheduledStream]:
    return [heappop(waiting)[3] for _ in range(min(most, len(waiting)))]
