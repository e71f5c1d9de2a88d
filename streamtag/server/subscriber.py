"""Subscribers: messages from the hub through a bounded queue to a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from websockets.frames import CloseCode, Frame

from streamtag.protocol.queues import DropOldestQueue, EncodedMessage
from streamtag.protocol.selection import MessageFilter
from streamtag.server.config import ServerConfig
from streamtag.server.connections import SERVER_CLOSING, CloseReason, Connection, Handler
from streamtag.server.hub import Hub
from streamtag.server.metrics import Metrics
from streamtag.server.query import SubscribeQuery

MAX_BATCH, MAX_BATCH_BYTES = 16, 65536  # messages handed to the kernel at once; more bytes only in a single message
STALLED = CloseReason(CloseCode.TRY_AGAIN_LATER, "too slow: nothing was read for too long")
UNEXPECTED_DATA = CloseReason(CloseCode.POLICY_VIOLATION, "subscribers have nothing to say")


class MessageSender(Handler):
    """Base of a handler that sends messages in order, as fast as the other side reads them.

    Whatever the socket does, offering a message neither blocks nor takes more memory than the queue has room for.
    """

    def __init__(self, connection: Connection, message_filter: MessageFilter, length: int, metrics: Metrics) -> None:
        """length: of the queue, as that of DropOldestQueue."""
        self._connection = connection
        self._message_filter = message_filter
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._first: Iterator[EncodedMessage] = iter(())  # sent before the queue
        self._queue = DropOldestQueue(length)
        self._is_scheduled = False
        self._close_reason: CloseReason | None = None

    def send_first(self, messages: Iterable[EncodedMessage]) -> None:
        """Send messages that no overflow may drop, before all others; each is taken when it can be sent."""
        self._first = iter(messages)
        self._flush()

    def offer(self, encoded: EncodedMessage) -> None:
        """Queue what the filter leaves of a message. Raises ValueError as EncodedMessage.encode does."""
        if encoded.encode(self._message_filter) is None:
            return
        if not self._queue.put(encoded):
            self._metrics.dropped.inc()
        # Sent by the next turn of the event loop: by then more messages may have come, which then are one write.
        if self._connection.is_writable and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)

    def on_writable(self) -> None:
        self._flush()

    def finish(self, reason: CloseReason = SERVER_CLOSING) -> None:
        """Close the connection as soon as everything that waits is sent. A second reason is ignored."""
        self._close_reason = self._close_reason or reason
        self._flush()

    def abandon(self, reason: CloseReason = SERVER_CLOSING) -> None:
        """Close the connection now, unless a reason to close it was given before: then with that one."""
        self._connection.close(self._close_reason or reason)

    def _flush(self) -> None:
        """Send what waits until the kernel takes no more."""
        self._is_scheduled = False
        while self._connection.is_writable and (texts := self._next_batch()):
            self._connection.send(texts)
            self._metrics.sent.inc(len(texts))
        if self._close_reason is not None and self._connection.is_writable:
            self._connection.close(self._close_reason)

    def _next_batch(self) -> list[bytes]:
        texts: list[bytes] = []
        size = 0
        while len(texts) < MAX_BATCH and size < MAX_BATCH_BYTES:
            encoded = next(self._first, None) or self._queue.pop()
            if encoded is None:
                break
            if (text := encoded.encode(self._message_filter)) is not None:
                texts.append(text)
                size += len(text)
        return texts


class Subscriber(MessageSender):
    """The handler of one subscriber's connection."""

    def __init__(
        self,
        connection: Connection,
        query: SubscribeQuery,
        hub: Hub,
        config: ServerConfig,
        metrics: Metrics,
        length: int,
    ) -> None:
        """length: of its queue."""
        super().__init__(connection, query.message_filter, length, metrics)
        self.max_message_bytes = config.max_message_bytes
        self._query = query
        self._hub = hub
        self._stall_timeout_s = config.stall_timeout_s
        self._stall_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0  # when the timer was started

    def on_open(self) -> None:
        self.send_first(self._hub.subscribe(self, self._query.stream, self._query.history_s))

    def on_data(self, frame: Frame) -> None:  # noqa: ARG002
        self._connection.close(UNEXPECTED_DATA)

    def on_blocked(self) -> None:
        self._unsent_bytes = self._connection.unsent_bytes
        self._stall_timer = self._loop.call_later(self._stall_timeout_s, self._check_progress)

    def on_writable(self) -> None:
        self._cancel_stall_timer()
        super().on_writable()

    def on_close(self) -> None:
        self._cancel_stall_timer()
        self._hub.unsubscribe(self, self._query.stream)

    def _check_progress(self) -> None:
        """Close the connection if nothing was read since the timer was started. A history may take longer."""
        if self._connection.unsent_bytes < self._unsent_bytes:
            self.on_blocked()
            return
        self._metrics.stalled.inc()
        self._connection.close(STALLED)

    def _cancel_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
