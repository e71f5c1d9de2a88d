"""What waits for a socket, and how it gets there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence

from websockets.asyncio.server import ServerConnection

from streamtag.protocol.message_filter import MessageFilter
from streamtag.server.metrics import Metrics
from streamtag.server.queues import DropOldestQueue, EncodedMessage

TOGETHER = 16  # messages handed to the kernel at once
SEND_BUFFER = 16384  # bytes in the kernel: small, so that one who does not read is noticed soon


class SendQueue:
    """Owned by the event loop: letters are offered to it, a task carries them to the socket.

    Whatever the socket does, offering neither waits nor takes more memory than the queue has room for.
    """

    def __init__(
        self,
        connection: ServerConnection,
        message_filter: MessageFilter,
        length: int,
        stall_timeout_s: float | None,
        metrics: Metrics,
    ) -> None:
        """length: letters that wait at most. stall_timeout_s: how long one may wait for the socket; None: for ever."""
        self._connection = connection
        self._message_filter = message_filter
        self._stall_s = stall_timeout_s
        self._metrics = metrics
        self._mailbox = DropOldestQueue(length)
        self._news = asyncio.Event()
        self._finished = False

    def offer(self, letter: EncodedMessage) -> None:
        """Queues what is wanted of it. Raises ValueError as Letter.text does."""
        if letter.text(self._message_filter) is None:
            return
        if not self._mailbox.put(letter):
            self._metrics.dropped.inc()
        self._news.set()

    def finish(self) -> None:
        """Nothing more will be offered: `write` returns when it has sent what waits."""
        self._finished = True
        self._news.set()

    async def write(self, greeting: Iterable[EncodedMessage]) -> None:
        """The greeting, then what is offered, until the end. Raises TimeoutError (stalled) and ConnectionClosed."""
        _limit_send_buffer(self._connection)
        for letter in greeting:
            if (text := letter.text(self._message_filter)) is not None:
                await self._send([text])
        while not (self._finished and not self._mailbox):
            self._news.clear()
            while texts := self._next():
                await self._send(texts)
            if not self._finished:
                await self._news.wait()

    def _next(self) -> list[bytes]:
        """What waits, or some of it."""
        texts: list[bytes] = []
        while len(texts) < TOGETHER and (letter := self._mailbox.take()) is not None:
            if (text := letter.text(self._message_filter)) is not None:
                texts.append(text)
        return texts

    async def _send(self, texts: Sequence[bytes]) -> None:
        """Returns when the kernel has all of it."""
        async with asyncio.timeout(self._stall_s), self._connection.send_context():
            for text in texts:
                self._connection.protocol.send_text(text)
        self._metrics.sent.inc(len(texts))


def _limit_send_buffer(connection: ServerConnection) -> None:
    plug = connection.transport.get_extra_info("socket")
    if plug is not None:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
