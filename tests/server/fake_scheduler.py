"""A scheduler without a model: it records what it gets, and does what a test demands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from streamtag.audio.pcm import PcmFormat
from streamtag.errors import SpecError
from streamtag.protocol.messages import End, Message
from streamtag.scheduler.registry import NameTaken, UnknownStream
from streamtag.scheduler.stats import Busy, SchedulerStats, StreamStats

if TYPE_CHECKING:
    from streamtag.scheduler.scheduler import Scheduler

STATE = b"the state of a stream"


class FakeHandle:
    """room: what push answers."""

    def __init__(self, name: str, format: PcmFormat, position: int, on_writable: Callable[[], None]) -> None:
        self.name, self.format, self.position, self.on_writable = name, format, position, on_writable
        self.audio = bytearray()
        self.pushes = 0
        self.room = True
        self.has_ended = self.is_finished = self.is_disconnected = False

    def push(self, data: bytes) -> bool:
        assert type(data) is bytes
        assert not self.is_finished
        assert not self.is_disconnected
        self.audio += data
        self.pushes += 1
        return self.room

    def end(self) -> None:
        self.is_finished = True

    def disconnect(self) -> None:
        self.is_disconnected = True


class FakeScheduler:
    """publish: where messages go. handles: by name, the last of each."""

    def __init__(self, publish: Callable[[Sequence[Message]], None], capacity: int = 100) -> None:
        self.publish = publish
        self.handles: dict[str, FakeHandle] = {}
        self.opened: list[FakeHandle] = []
        self.imported: dict[str, bytes] = {}
        self.states: dict[str, Future[bytes]] = {}  # to be exported
        self.exports = 0
        self.stats = SchedulerStats(0, 0, capacity, False, 3.2, 0, 0.0, 0.0, 0.0)

    @property
    def real(self) -> Scheduler:
        return cast("Scheduler", self)

    @property
    def streams(self) -> tuple[StreamStats, ...]:
        return tuple(
            StreamStats(name, 1.5, 0.25, 0.5, 0.125, True, handle.is_disconnected) for name, handle in self._running()
        )

    def open(self, name: str, format: PcmFormat, position: int | None, on_writable: Callable[[], None]) -> FakeHandle:
        known = dict(self._running()).get(name)
        if known is not None and not known.is_disconnected:
            raise NameTaken(f"{name}: in use")
        if known is None and not self.stats.room:
            raise Busy("no room", self.stats.retry_after_s)
        start = 0 if known is None else position or known.position
        handle = self.handles[name] = FakeHandle(name, format, start, on_writable)
        self.opened.append(handle)
        self._count()
        return handle

    def end(self, name: str) -> None:
        """As after the last frame."""
        handle = self.handles[name]
        self.publish([End(name, 1.0, 4, {"tag 01": 0.5})])
        handle.has_ended = True
        self._count()
        handle.on_writable()

    def export_state(self, name: str) -> Future[bytes]:
        self.exports += 1
        if name in self.states:
            return self.states[name]
        if name not in dict(self._running()):
            raise UnknownStream(f"{name}: there is no stream of that name")
        future: Future[bytes] = Future()
        future.set_result(STATE)
        return future

    def import_state(self, name: str, data: bytes) -> Future[int]:
        if name in self.handles:
            raise NameTaken(f"{name}: in use")
        future: Future[int] = Future()
        if data == STATE:
            self.imported[name] = data
            future.set_result(4096)
        else:
            future.set_exception(SpecError("a stream's state is damaged"))
        return future

    def _running(self) -> list[tuple[str, FakeHandle]]:
        return [(name, handle) for name, handle in self.handles.items() if not handle.has_ended]

    def _count(self) -> None:
        self.stats = replace(self.stats, streams=len(self._running()))
