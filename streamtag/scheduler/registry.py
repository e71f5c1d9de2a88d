"""The streams that have a place, by name, and those that wait for their producer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from streamtag.errors import StreamtagError
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.stats import Busy
from streamtag.scheduler.stream import ScheduledStream

ENDING_RETRY_S = 1.0  # s; by then a stream that is about to end has ended


class NameTaken(StreamtagError):  # noqa: N818
    """A producer of that name is connected already."""


class UnknownStream(StreamtagError):  # noqa: N818
    """There is no stream of that name."""


class StreamRegistry:
    """Own the names. Used with the scheduler's lock held."""

    def __init__(self, config: SchedulerConfig) -> None:
        self._config = config
        self._streams: dict[str, ScheduledStream] = {}
        self._expiry: dict[str, float] = {}  # of disconnected streams, the first to expire first
        self._reserved: set[str] = set()  # names of streams that are being imported

    def __len__(self) -> int:
        """Places taken."""
        return len(self._streams) + len(self._reserved)

    def __iter__(self) -> Iterator[ScheduledStream]:
        return iter(list(self._streams.values()))

    @property
    def disconnected(self) -> int:
        """Number of streams that wait for their producer."""
        return len(self._expiry)

    def find(self, name: str) -> ScheduledStream | None:
        return self._streams.get(name)

    def find_disconnected(self, name: str) -> ScheduledStream | None:
        """Return the stream that waits for a producer of that name, or None if the name is free.

        Raises NameTaken or Busy.
        """
        stream = self._streams.get(name)
        if name in self._reserved:
            raise Busy(f"the stream {name} is on its way here", ENDING_RETRY_S)
        if stream is None:
            return None
        if name in self._expiry and not stream.buffer.input_ended:
            return stream
        if stream.buffer.input_ended or stream.disconnected_since is not None:
            raise Busy(f"the stream {name} is about to end", ENDING_RETRY_S)
        raise NameTaken(f"{name}: a producer of that name is connected already")

    def check_free(self, name: str) -> None:
        """Raise NameTaken if the name is in use or reserved."""
        if name in self._streams or name in self._reserved:
            raise NameTaken(f"{name}: a stream of that name is here already")

    def reserve(self, name: str) -> None:
        """Keep a place for a stream that is being imported."""
        self._reserved.add(name)

    def release(self, name: str) -> None:
        """Give up a reserved place."""
        self._reserved.discard(name)

    def add(self, stream: ScheduledStream) -> None:
        """Add a stream, in the place that was reserved for it, if any."""
        self._reserved.discard(stream.name)
        self._streams[stream.name] = stream

    def remove(self, stream: ScheduledStream) -> None:
        if self._streams.get(stream.name) is stream:
            del self._streams[stream.name]
            self._expiry.pop(stream.name, None)

    def disconnect(self, stream: ScheduledStream, now: float) -> bool:
        """Let a stream wait for its producer, and return whether it does: it may have ended."""
        if stream.buffer.input_ended or self._streams.get(stream.name) is not stream:
            return False
        stream.disconnected_since, stream.on_writable = now, None
        self._expiry[stream.name] = now + self._config.reconnect_grace_s
        return True

    def reconnect(self, stream: ScheduledStream) -> float:
        """End the wait for a producer and return when it began."""
        del self._expiry[stream.name]
        since, stream.disconnected_since = stream.disconnected_since, None
        assert since is not None
        return since

    def pop_expired(self, now: float) -> list[ScheduledStream]:
        """Return the streams whose producers have not returned in time. They are not waited for any longer."""
        expired = list(takewhile(lambda name: self._expiry[name] <= now, self._expiry))
        for name in expired:
            del self._expiry[name]
        return [self._streams[name] for name in expired]

    def wait_s(self, now: float) -> float | None:
        """Return the time until the next stream expires, or None."""
        expiry = next(iter(self._expiry.values()), None)
        return None if expiry is None else max(0.0, expiry - now)
