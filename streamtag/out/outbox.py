"""What waits for a socket, and how it gets there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

from websockets.asyncio.server import ServerConnection

from streamtag.out.mailbox import Letter, Mailbox
from streamtag.out.metrics import Metrics
from streamtag.out.thinning import Thinning

SEND_BUFFER = 16384  # bytes in the kernel: small, so that one who does not read is noticed soon


class Outbox:
    """Owned by the event loop: letters are offered to it, a task carries them to the socket.

    Whatever the socket does, offering neither waits nor takes more memory than the queue has room for.
    """

    def __init__(
        self, connection: ServerConnection, thinning: Thinning, length: int, stall_s: float | None, metrics: Metrics
    ) -> None:
        """length: letters that wait at most. stall_s: how long one may wait for the socket; None: for ever."""
        self._connection = connection
        self._thinning = thinning
        self._stall_s = stall_s
        self._metrics = metrics
        self._mailbox = Mailbox(length)
        self._news = asyncio.Event()
        self._finished = False

    def offer(self, letter: Letter) -> None:
        """Queues what is wanted of it. Raises ValueError as Letter.text does."""
        if letter.text(self._thinning) is None:
            return
        if not self._mailbox.put(letter):
            self._metrics.dropped.inc()
        self._news.set()

    def finish(self) -> None:
        """Nothing more will be offered: `write` returns when it has sent what waits."""
        self._finished = True
        self._news.set()

    async def write(self, greeting: Iterable[Letter]) -> None:
        """The greeting, then what is offered, until the end. Raises TimeoutError (stalled) and ConnectionClosed."""
        _limit_send_buffer(self._connection)
        for letter in greeting:
            await self._send(letter)
        while not (self._finished and not self._mailbox):
            self._news.clear()
            while (next_one := self._mailbox.take()) is not None:
                await self._send(next_one)
            if not self._finished:
                await self._news.wait()

    async def _send(self, letter: Letter) -> None:
        """Returns when the kernel has all of it."""
        text = letter.text(self._thinning)
        if text is None:
            return
        async with asyncio.timeout(self._stall_s):
            await self._connection.send(text, text=True)
        self._metrics.sent.inc()


def _limit_send_buffer(connection: ServerConnection) -> None:
    plug = connection.transport.get_extra_info("socket")
    if plug is not None:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
