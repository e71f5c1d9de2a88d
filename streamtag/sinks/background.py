"""Writing from a thread of its own, so that a slow reader or disk delays nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType

from streamtag.audio.source import Closing
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import Message
from streamtag.protocol.queues import DropOldestQueue, EncodedMessage
from streamtag.sinks.base import Sink, SinkGroup

MAX_MESSAGES = 1024
POLL_INTERVAL_S = 0.25


class BackgroundSink(Closing, Sink):
    """Writes to other sinks from one thread: to standard output, whose reader may be a paused pager, or to a database.

    Any thread may write, and never waits. When the queue is full, the oldest frame is dropped and counted in the
    `dropped` of its stream's next frame. After a failure, such as a closed pipe, the next write raises the error.
    """

    def __init__(
        self, sinks: Iterable[Sink], max_messages: int = MAX_MESSAGES, poll: Callable[[], None] | None = None
    ) -> None:
        """sinks: closed with this one. max_messages: that wait at most.

        poll: called by the thread after every message, and every POLL_INTERVAL_S if there is none; must not raise. The
        thread then wakes no earlier than that, unless half the queue is full: waking for every message costs more than
        writing it.
        """
        self._sinks = tuple(sinks)
        self._group = SinkGroup(self._sinks)
        self._poll = poll
        self._changed = threading.Condition()  # guards the queue and the two below
        self._queue = DropOldestQueue(max_messages)
        self._wakes_at = 1 if poll is None else max(1, max_messages // 2)  # messages
        self._begun: dict[str, tuple[StreamInfo, Timeline]] = {}  # streams without a message so far
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="streamtag-output", daemon=True)
        self._thread.start()

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:
        with self._changed:
            self._begun[stream.name] = stream, timeline

    def write(self, message: Message) -> None:
        """Raises the error of a sink that has failed."""
        self._group.raise_failure()
        with self._changed:
            self._queue.put(EncodedMessage(message))
            if len(self._queue) >= self._wakes_at:
                self._changed.notify()

    def close(self) -> None:
        """Wait until everything is written, and close the sinks. Raises the error of a sink that has failed."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()
        for sink in self._sinks:
            sink.close()
        self._group.raise_failure()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif not issubclass(kind, KeyboardInterrupt):  # the user does not wait for a stalled reader
            with suppress(Exception):  # the error that ends the program is another one
                self.close()

    def _run(self) -> None:
        while not self._group.has_failed:
            with self._changed:
                timeout_s = None if self._poll is None else POLL_INTERVAL_S
                self._changed.wait_for(lambda: self._queue or self._is_closing, timeout_s)
                item = self._queue.pop()
                begun = None if item is None else self._begun.pop(getattr(item.message, "stream", None) or "", None)
                if item is None and self._is_closing:
                    return
            if begun is not None:
                self._group.begin(*begun)
            if item is not None:
                self._group.publish(item.message)
            if self._poll is not None:
                self._poll()
