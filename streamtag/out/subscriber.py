"""One who listens: its queue, its socket, and its end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import NamedTuple

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from streamtag.out.mailbox import Letter, Mailbox
from streamtag.out.metrics import Metrics
from streamtag.out.serving import ServeSpec
from streamtag.out.wish import Wish

SEND_BUFFER = 16384  # bytes in the kernel: small, so that one who does not read is noticed soon
CLOSE_S = 2.0  # s; how long the other side has for its part of a close


class Farewell(NamedTuple):
    """The close frame that ends a connection."""

    code: CloseCode
    reason: str


STALLED = Farewell(CloseCode.TRY_AGAIN_LATER, "too slow: nothing was read for too long")
SPOKE = Farewell(CloseCode.POLICY_VIOLATION, "subscribers have nothing to say")
OVER = Farewell(CloseCode.GOING_AWAY, "the server ends")


class Subscriber:
    """Owned by the event loop: letters are offered to it, a task of its own carries them to the socket.

    Whatever its socket does, offering neither waits nor takes more memory than the queue has room for.
    """

    def __init__(self, connection: ServerConnection, wish: Wish, spec: ServeSpec, metrics: Metrics) -> None:
        self._connection = connection
        self.wish = wish
        self._stall_s = spec.stall_s
        self._metrics = metrics
        self._mailbox = Mailbox(spec.queue)
        self._news = asyncio.Event()
        self._finished = False
        self._writing: asyncio.Task[Farewell | None] | None = None

    def offer(self, letter: Letter) -> None:
        """Queues what is wanted of it. Raises ValueError as Letter.text does."""
        if not self.wish.wants(letter.message) or letter.text(self.wish.thinning) is None:
            return
        if not self._mailbox.put(letter):
            self._metrics.dropped.inc()
        self._news.set()

    def finish(self) -> None:
        """Nothing more will be offered: what waits is sent, then the connection closed."""
        self._finished = True
        self._news.set()

    def give_up(self) -> None:
        """The same, without what waits."""
        if self._writing is not None:
            self._writing.cancel()

    async def run(self, greeting: Iterable[Letter]) -> None:
        """Sends the greeting, then what is offered, until the connection has ended, for whatever reason."""
        _limit_send_buffer(self._connection)
        self._writing = asyncio.create_task(self._write(greeting))
        listening = asyncio.create_task(self._listen())
        try:
            await asyncio.wait({self._writing, listening}, return_when=asyncio.FIRST_COMPLETED)
            farewell = _result(listening if listening.done() else self._writing)
            if farewell is not None:
                await self._say(farewell)
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
            for letter in greeting:
                await self._send(letter)
            while not (self._finished and not self._mailbox):
                self._news.clear()
                while (next_one := self._mailbox.take()) is not None:
                    await self._send(next_one)
                if not self._finished:
                    await self._news.wait()
        except TimeoutError:
            self._metrics.stalled.inc()
            return STALLED
        except ConnectionClosed:
            return None
        return OVER

    async def _send(self, letter: Letter) -> None:
        """Returns when the kernel has all of it. Raises TimeoutError if that takes too long."""
        text = letter.text(self.wish.thinning)
        if text is None:
            return
        async with asyncio.timeout(self._stall_s):
            await self._connection.send(text, text=True)
        self._metrics.sent.inc()

    async def _listen(self) -> Farewell | None:
        try:
            await self._connection.recv(decode=False)
        except ConnectionClosed:
            return None
        return SPOKE

    async def _say(self, farewell: Farewell) -> None:
        """Waits for the other side's answer, but not long: a socket that is stuck is cut."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._connection.close(*farewell)
        except TimeoutError:
            self._connection.transport.abort()


def _result(task: asyncio.Task[Farewell | None]) -> Farewell | None:
    return OVER if task.cancelled() else task.result()


def _limit_send_buffer(connection: ServerConnection) -> None:
    plug = connection.transport.get_extra_info("socket")
    if plug is not None:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
