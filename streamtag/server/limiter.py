"""How many connections there may be, and how all of them are closed when the server ends."""

from __future__ import annotations

import asyncio

from streamtag.server.connections import Connection, Handler
from streamtag.server.metrics import Metrics

MAX_PENDING = 64  # connections without a place, beside as many as may get one at the same time


class ConnectionLimiter:
    """The connections of one server. Of too many pending ones the oldest is aborted: an honest one is brief."""

    def __init__(self, max_subscribers: int, max_producers: int, metrics: Metrics) -> None:
        self._max_subscribers = max_subscribers
        self._max_pending = max_subscribers + max_producers + MAX_PENDING
        self._metrics = metrics
        self._pending: dict[Connection, None] = {}  # oldest first
        self._subscribers: set[Connection] = set()
        self._producers: set[Connection] = set()
        self._empty = asyncio.Event()
        self._is_closing = False

    def add(self, connection: Connection) -> None:
        self._pending[connection] = None
        if self._is_closing:  # its TLS handshake took until now
            connection.abort()
        if len(self._pending) > self._max_pending:
            oldest = next(iter(self._pending))
            del self._pending[oldest]
            self._metrics.count_refusal("waiting")
            oldest.abort()

    def admit_subscriber(self, connection: Connection) -> bool:
        """Give it a subscriber's place. Return False if there is none."""
        if len(self._subscribers) >= self._max_subscribers:
            return False
        self._pending.pop(connection, None)
        self._subscribers.add(connection)
        return True

    def admit_producer(self, connection: Connection) -> None:
        """Move it to the producers, which are counted elsewhere."""
        self._pending.pop(connection, None)
        self._producers.add(connection)

    def remove(self, connection: Connection) -> None:
        self._pending.pop(connection, None)
        self._subscribers.discard(connection)
        self._producers.discard(connection)
        if self._is_empty:
            self._empty.set()

    async def close(self, drain_timeout_s: float, close_timeout_s: float) -> None:
        """Close all connections: first those to which nothing is sent, then all when time is up, then by force."""
        self._is_closing = True
        for connection in list(self._pending):
            connection.abort()
        for handler in self._handlers():
            handler.finish()
        if not await self._wait_until_empty(drain_timeout_s):
            for handler in self._handlers():
                handler.abandon()
            if not await self._wait_until_empty(close_timeout_s):
                for connection in self._all():
                    connection.abort()
                await self._wait_until_empty(None)

    async def _wait_until_empty(self, timeout_s: float | None) -> bool:
        self._empty.clear()
        if self._is_empty:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    @property
    def _is_empty(self) -> bool:
        return not (self._pending or self._subscribers or self._producers)

    def _all(self) -> list[Connection]:
        return [*self._pending, *self._subscribers, *self._producers]

    def _handlers(self) -> list[Handler]:
        return [connection.handler for connection in self._all() if connection.handler is not None]
