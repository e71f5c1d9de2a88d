"""What `streamtag serve` shows and writes of its streams."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from streamtag.protocol.messages import End, Error, Gap, Message
from streamtag.protocol.queues import DropOldestQueue, EncodedMessage
from streamtag.sinks.base import SinkGroup
from streamtag.terminal.stream_table import StreamRow, TableSnapshot
from streamtag.text import format_length, format_time, plural

if TYPE_CHECKING:
    from streamtag.scheduler.stats import SchedulerStats, StreamStats

MAX_NOTICES = 1000  # that wait
MAX_QUEUED_PER_STREAM = 64  # messages that wait to be written; the end of a stream can switch off every tag


class ConsoleQueue:
    """Messages and notices from any thread to one reader. Writers never wait: a full queue drops the oldest frames."""

    def __init__(self, max_messages: int) -> None:
        self._messages = DropOldestQueue(max_messages)
        self._notices: deque[str] = deque(maxlen=MAX_NOTICES)
        self._changed = threading.Condition()

    def put_all(self, messages: Sequence[Message]) -> None:
        with self._changed:
            for message in messages:
                self._messages.put(EncodedMessage(message))
            self._changed.notify()

    def notify(self, notice: str) -> None:
        """Add a line for people."""
        with self._changed:
            self._notices.append(notice)
            self._changed.notify()

    def read(self, timeout_s: float) -> tuple[list[str], list[Message]]:
        """Return all notices and messages, in order; none if none come in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self._notices, timeout_s)
            messages: list[Message] = []
            while (item := self._messages.pop()) is not None:
                messages.append(item.message)
            notices = list(self._notices)
            self._notices.clear()
        return notices, messages


def table_snapshot(
    address: str, stats: SchedulerStats, streams: Sequence[StreamStats], subscribers: int
) -> TableSnapshot:
    """Return what the table shows of a server at this address."""
    title = f"{address}  {len(streams)} of {plural(stats.capacity, 'stream')}"
    load = f"{plural(subscribers, 'subscriber')}  {stats.utilization:.0%} busy"
    warning = "behind: no new streams" if stats.is_degraded else ""
    return TableSnapshot(title, load, [_row(stream) for stream in streams], warning)


def _row(stream: StreamStats) -> StreamRow:
    """Return what the table shows of a producer's stream."""
    if stream.is_disconnected:
        return StreamRow(stream.name, stream.seconds, None, "away", "yellow")
    if stream.shed_s:
        return StreamRow(stream.name, stream.seconds, stream.lag_s, f"{stream.shed_s:.1f} s lost", "red")
    return StreamRow(stream.name, stream.seconds, stream.lag_s, "" if stream.is_live else "file")


def write_queued(queue: ConsoleQueue, sinks: SinkGroup, note: Callable[[str], None], timeout_s: float) -> None:
    """Write what is in the queue, and report the end, the gaps and the errors of streams."""
    notices, messages = queue.read(timeout_s)
    for notice in notices:
        note(notice)
    for message in messages:
        sinks.publish(message)
        if (text := notice_of(message)) is not None:
            note(text)


def notice_of(message: Message) -> str | None:
    """Return a line about the end, a gap or an error of a stream; None for other messages."""
    if isinstance(message, End):
        frames = plural(message.frames, "frame")
        return f"{message.stream}: ended after {format_length(message.seconds)}, {frames}"
    if isinstance(message, Gap):
        return f"{message.stream}: {message.lost_s:.2f} s of audio lost at {format_time(message.start)}"
    if isinstance(message, Error) and message.stream is not None:
        return f"{message.stream}: {message.message}"
    return None
