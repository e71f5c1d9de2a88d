"""One who listens: its queue, its socket, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from streamtag.out.farewell import OVER, SPOKE, STALLED, Farewell
from streamtag.out.hub import Hub
from streamtag.out.mailbox import Letter
from streamtag.out.metrics import Metrics
from streamtag.out.outbox import Outbox
from streamtag.out.serving import ServeSpec
from streamtag.out.wish import Wish


class Subscriber:
    """Owned by the event loop, as its outbox is."""

    def __init__(
        self, connection: ServerConnection, wish: Wish, hub: Hub, spec: ServeSpec, queue: int, metrics: Metrics
    ) -> None:
        """queue: messages that wait for it at most."""
        self._connection = connection
        self._wish = wish
        self._hub = hub
        self._metrics = metrics
        self._outbox = Outbox(connection, wish.thinning, queue, spec.stall_s, metrics)
        self._writing: asyncio.Task[Farewell | None] | None = None
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

    async def _run(self, greeting: Iterable[Letter]) -> None:
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

    async def _write(self, greeting: Iterable[Letter]) -> Farewell | None:
        """-> how to close the connection; None if it is closed."""
        try:
            await self._outbox.write(greeting)
        except TimeoutError:
            self._metrics.stalled.inc()
            return STALLED
        except ConnectionClosed:
            return None
        return OVER

    async def _listen(self) -> Farewell | None:
        try:
            await self._connection.recv(decode=False)
        except ConnectionClosed:
            return None
        return SPOKE


def _result(task: asyncio.Task[Farewell | None]) -> Farewell | None:
    return OVER if task.cancelled() else task.result()
