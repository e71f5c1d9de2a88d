"""Who has a place: streams by name, those with a producer and those that wait for theirs."""

from __future__ import annotations

from collections.abc import Iterator

from streamtag.errors import CapacityError, StreamtagError
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.stream import ScheduledStream

ENDING_S = 1.0  # s; a stream that ends has ended by then


class Busy(CapacityError):  # noqa: N818  (no defect, an answer)
    """There is no room for one more stream now. retry_after_s: when it may be worth asking again, s."""

    def __init__(self, why: str, retry_after_s: float) -> None:
        super().__init__(f"busy: {why}")
        self.retry_after_s = retry_after_s


class NameTaken(StreamtagError):  # noqa: N818
    """A producer of that name is connected already."""


class UnknownStream(StreamtagError):  # noqa: N818
    """No stream of that name runs or waits for its producer."""


class StreamRegistry:
    """Used under the engine's lock."""

    def __init__(self, spec: SchedulerConfig) -> None:
        self._spec = spec
        self._streams: dict[str, ScheduledStream] = {}
        self._away: dict[str, float] = {}  # until when they wait, the first to end first
        self._reserved: set[str] = set()  # names whose streams are on their way here

    def __len__(self) -> int:
        """Places taken."""
        return len(self._streams) + len(self._reserved)

    def __iter__(self) -> Iterator[ScheduledStream]:
        return iter(list(self._streams.values()))

    @property
    def away(self) -> int:
        """Streams that wait for their producer."""
        return len(self._away)

    def find(self, name: str) -> ScheduledStream | None:
        return self._streams.get(name)

    def kept(self, name: str) -> ScheduledStream | None:
        """The stream of that name that waits for its producer; None if the name is free. Raises NameTaken or Busy."""
        stream = self._streams.get(name)
        if name in self._reserved:
            raise Busy(f"the stream {name} is on its way here", ENDING_S)
        if stream is None:
            return None
        if stream.inlet.ended:
            raise Busy(f"the stream {name} is about to end", ENDING_S)
        if name not in self._away:
            raise NameTaken(f"{name}: a producer of that name is connected already")
        return stream

    def check_free(self, name: str) -> None:
        """Raises NameTaken if there is a stream of that name, or will be."""
        if name in self._streams or name in self._reserved:
            raise NameTaken(f"{name}: a stream of that name is here already")

    def reserve(self, name: str) -> None:
        """A place for a stream that is on its way here."""
        self._reserved.add(name)

    def release(self, name: str) -> None:
        """It does not come, or is here."""
        self._reserved.discard(name)

    def add(self, stream: ScheduledStream) -> None:
        self._streams[stream.name] = stream

    def remove(self, stream: ScheduledStream) -> None:
        if self._streams.get(stream.name) is stream:
            del self._streams[stream.name]
            self._away.pop(stream.name, None)

    def leave(self, stream: ScheduledStream, now: float) -> bool:
        """Its producer is gone -> whether it waits for it from now on."""
        if stream.ended or stream.inlet.ended or self._streams.get(stream.name) is not stream:
            return False
        stream.away_since, stream.on_writable = now, None
        self._away[stream.name] = now + self._spec.reconnect_grace_s
        return True

    def come_back(self, stream: ScheduledStream) -> float:
        """-> when its producer had gone."""
        del self._away[stream.name]
        since, stream.away_since = stream.away_since, None
        assert since is not None
        return since

    def expired(self, now: float) -> list[ScheduledStream]:
        """Those that have waited long enough; they wait no more."""
        over = [self._streams[name] for name, until in self._away.items() if until <= now]
        for stream in over:
            del self._away[stream.name]
        return over

    def next_expiry(self) -> float | None:
        return next(iter(self._away.values()), None)
