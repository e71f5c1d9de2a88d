"""One who listens: its queue, its socket, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from streamtag.server.close_reason import OVER, STALLED, UNEXPECTED_DATA, CloseReason
from streamtag.server.config import ServerConfig
from streamtag.server.hub import Hub
from streamtag.server.metrics import Metrics
from streamtag.server.query import SubscribeQuery
from streamtag.server.queues import EncodedMessage
from streamtag.server.send_queue import SendQueue


class Subscriber:
    """Owned by the event loop, as its outbox is."""

    def __init__(
        self,
        connection: ServerConnection,
        wish: SubscribeQuery,
        hub: Hub,
        spec: ServerConfig,
        queue: int,
        metrics: Metrics,
    ) -> None:
        """queue: messages that wait for it at most."""
        self._connection = connection
        self._wish = wish
        self._hub = hub
        self._metrics = metrics
        self._outbox = SendQueue(connection, wish.message_filter, queue, spec.stall_timeout_s, metrics)
        self._writing: asyncio.Task[CloseReason | None] | None = None
        self.offer = self._outbox.offer
        self.finish = self._outbox.finish

    def give_up(self) -> None:
        """As finish, without what waits."""
        if self._writing is not None:
            self._writing.cancel()

    async def attend(self) -> None:
        """From its greeting until the connection has ended, for whatever reason."""
        greeting = self._hub.join(self, self._wish)
        try:
            await self._run(greeting)
        finally:
            self._hub.leave(self, self._wish)

    def lost(self) -> None:
        pass  # reading and writing notice it

    async def _run(self, greeting: Iterable[EncodedMessage]) -> None:
        self._writing = asyncio.create_task(self._write(greeting))
        listening = asyncio.create_task(self._listen())
        try:
            await asyncio.wait({self._writing, listening}, return_when=asyncio.FIRST_COMPLETED)
            farewell = _result(listening if listening.done() else self._writing)
            if farewell is not None:
                await farewell.say(self._connection)
        finally:
            for task in (self._writing, listening):
                task.cancel()
            await asyncio.wait({self._writing, listening})
            for task in (self._writing, listening):
                if not task.cancelled():
                    task.exception()  # seen

    async def _write(self, greeting: Iterable[EncodedMessage]) -> CloseReason | None:
        """-> how to close the connection; None if it is closed."""
        try:
            await self._outbox.write(greeting)
        except TimeoutError:
            self._metrics.stalled.inc()
            return STALLED
        except ConnectionClosed:
            return None
        return OVER

    async def _listen(self) -> CloseReason | None:
        try:
            await self._connection.recv(decode=False)
        except ConnectionClosed:
            return None
        return UNEXPECTED_DATA


def _result(task: asyncio.Task[CloseReason | None]) -> CloseReason | None:
    return OVER if task.cancelled() else task.result()
