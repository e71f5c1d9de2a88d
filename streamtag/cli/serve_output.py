"""What `streamtag serve` shows and writes of its streams."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from streamtag.protocol.messages import End, Error, Gap
from streamtag.protocol.selection import Selection
from streamtag.scheduler.scheduler import Scheduler
from streamtag.server.thread import ServerThread
from streamtag.sinks.base import SinkGroup
from streamtag.terminal.console_queue import ConsoleQueue
from streamtag.terminal.stream_table import ServerSnapshot, StreamsTable
from streamtag.text import format_length, format_time, plural


def open_table(console: Console, server: ServerThread, scheduler: Scheduler, selection: Selection) -> StreamsTable:
    """Return a table of the streams, to be entered."""

    def snapshot() -> ServerSnapshot:
        stats, streams = scheduler.stats, scheduler.streams
        return ServerSnapshot(streams, stats.capacity, server.subscribers, stats.utilization, stats.is_degraded)

    return StreamsTable(console, server.address, snapshot, selection)


def write_queued(queue: ConsoleQueue, sinks: SinkGroup, note: Callable[[str], None], timeout_s: float) -> None:
    """Write what is in the queue, and report the end, the gaps and the errors of streams."""
    notices, messages = queue.read(timeout_s)
    for notice in notices:
        note(notice)
    for message in messages:
        sinks.publish(message)
        if isinstance(message, End):
            frames = plural(message.frames, "frame")
            note(f"{message.stream}: ended after {format_length(message.seconds)}, {frames}")
        elif isinstance(message, Gap):
            note(f"{message.stream}: {message.lost_s:.2f} s of audio lost at {format_time(message.start)}")
        elif isinstance(message, Error) and message.stream is not None:
            note(f"{message.stream}: {message.message}")
