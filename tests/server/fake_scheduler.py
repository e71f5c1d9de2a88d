"""An engine that hears nothing: it notes what it is given, and does what a test tells it to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from streamtag.audio.pcm import PcmFormat
from streamtag.errors import SpecError
from streamtag.protocol.messages import End, Message
from streamtag.scheduler.registry import Busy, NameTaken, UnknownStream
from streamtag.scheduler.stats import SchedulerStats, StreamStats

if TYPE_CHECKING:
    from streamtag.scheduler.scheduler import Scheduler

STATE = b"all that it needs"


def _ignore(messages: Sequence[Message]) -> None:
    del messages


class FakeFeed:
    """room: what push answers."""

    def __init__(self, name: str, format: PcmFormat, position: int, on_writable: Callable[[], None]) -> None:
        self.name, self.format, self.position, self.on_writable = name, format, position, on_writable
        self.heard = bytearray()
        self.pushes = 0
        self.room = True
        self.has_ended = self.end_said = self.is_away = False

    def push(self, data: bytes) -> bool:
        assert type(data) is bytes
        assert not self.end_said
        assert not self.is_away
        self.heard += data
        self.pushes += 1
        return self.room

    def end(self) -> None:
        self.end_said = True

    def disconnect(self) -> None:
        self.is_away = True


class FakeEngine:
    """feeds: by name, the last of each. tell: where messages go."""

    def __init__(self, capacity: int = 100) -> None:
        self.tell: Callable[[Sequence[Message]], None] = _ignore
        self.feeds: dict[str, FakeFeed] = {}
        self.opened: list[FakeFeed] = []
        self.adopted: dict[str, bytes] = {}
        self.stats = SchedulerStats(0, 0, capacity, False, False, 3.2, 0, 0.0, 0.0, 0.0)

    @property
    def real(self) -> Scheduler:
        return cast("Scheduler", self)

    @property
    def streams(self) -> tuple[StreamStats, ...]:
        return tuple(StreamStats(name, 1.5, 0.25, 0.5, 0.125, True, feed.is_away) for name, feed in self._running())

    def open(self, name: str, format: PcmFormat, position: int | None, on_writable: Callable[[], None]) -> FakeFeed:
        known = dict(self._running()).get(name)
        if known is not None and not known.is_away:
            raise NameTaken(f"{name}: taken")
        if known is None and not self.stats.room:
            raise Busy("no room", self.stats.retry_after_s)
        start = 0 if known is None else position or known.position
        feed = self.feeds[name] = FakeFeed(name, format, start, on_writable)
        self.opened.append(feed)
        self._count()
        return feed

    def end(self, name: str) -> None:
        """As after all that was owed."""
        feed = self.feeds[name]
        self.tell([End(name, 1.0, 4, {"tag 01": 0.5})])
        feed.has_ended = True
        self._count()
        feed.on_writable()

    def export_state(self, name: str) -> Future[bytes]:
        if name not in dict(self._running()):
            raise UnknownStream(f"{name}: there is no stream of that name")
        future: Future[bytes] = Future()
        future.set_result(STATE)
        return future

    def import_state(self, name: str, data: bytes) -> Future[int]:
        if name in self.feeds:
            raise NameTaken(f"{name}: taken")
        future: Future[int] = Future()
        if data == STATE:
            self.adopted[name] = data
            future.set_result(4096)
        else:
            future.set_exception(SpecError("a stream's state is damaged"))
        return future

    def _running(self) -> list[tuple[str, FakeFeed]]:
        return [(name, feed) for name, feed in self.feeds.items() if not feed.has_ended]

    def _count(self) -> None:
        self.stats = replace(self.stats, streams=len(self._running()))
