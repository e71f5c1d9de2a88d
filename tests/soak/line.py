"""A producer's connection and a subscriber's, as the churn uses them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import re
import socket
import time
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamtag.protocol.messages import End, Frame, Gap, Message
from streamtag.protocol.reader import parse
from tests.soak.account import HOP, RATE, ROUNDED_S, Account, Lost, Sent

OPEN_S = 20.0
LAST_S = 20.0  # for what is owed when the sound is over
OWED_S = 6.0  # for what is owed while it goes on
HELD_BACK_S = 0.15  # of sound that a resampler may still have: at 8 kHz 0.116
SHORTEST_S, LONGEST_S = 0.02, 0.4  # of what is pushed at once
SMALL = 4096  # bytes; the receive buffer of one that does not read


class RefusedError(Exception):
    """An HTTP status in place of a connection. retry_after_s: when to try again."""

    def __init__(self, status: int, retry_after_s: float) -> None:
        super().__init__(f"refused with {status}")
        self.status, self.retry_after_s = status, retry_after_s


class Ear:
    """A subscriber to one stream. It is there before the stream's producer, and notes all that is told of it."""

    def __init__(self, address: str, account: Account) -> None:
        self._url = f"{address}/streams/{quote(account.name, safe='')}"
        self._account = account
        self.over = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._connection = await connect(self._url, compression=None, open_timeout=OPEN_S, max_queue=512)
        await self._connection.recv()  # hello
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        self._connection.transport.abort()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for line in self._connection:
                if (message := _read(line, self._account)) is not None:
                    self._account.messages.append(message)
                    if isinstance(message, End):
                        self.over.set()


class Line:
    """One producer and its connections, one after the other. at: the sample that it sends next."""

    def __init__(self, address: str, account: Account, into: list[Message], chance: random.Random) -> None:
        self._address = address
        self._account = account
        self._into = into
        self._chance = chance
        self._connection: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._rate = account.sound.format.rate
        self.at = 0
        self._last = -1  # frame that came, or is lost
        self.let_in = False  # once, at least
        self.waits_for = ""  # what it wants of the server now
        self.code: int | None = None  # with which the last connection was closed

    async def open(self, position: int | None = None, deaf: bool = False) -> int:
        """-> the position that the server gives. deaf: it reads nothing until `listen`. Raises RefusedError."""
        format = self._account.sound.format
        query = f"rate={format.rate}&format={format.encoding}&channels={format.channels}"
        if position is not None:
            query += f"&position={position}"
        url = f"{self._address}/ingest/{quote(self._account.name, safe='')}?{query}"
        more: dict[str, Any] = {"sock": _narrow(self._address), "max_queue": 1} if deaf else {}
        try:
            self._connection = await connect(url, compression=None, open_timeout=OPEN_S, max_size=1 << 20, **more)
        except InvalidStatus as error:
            retry_after_s = float(error.response.headers.get("Retry-After", "1"))
            raise RefusedError(error.response.status_code, retry_after_s) from None
        self.code, self.let_in = None, True
        while True:
            values = json.loads(await self._connection.recv())
            if values["type"] == "ready":
                break
        if not deaf:
            self.listen()
        return int(values["position"])

    def listen(self) -> None:
        assert self._connection is not None
        self._task = asyncio.create_task(self._listen(self._connection))

    async def play(self, seconds: float, over: asyncio.Event, speed: float = 1.0) -> None:
        """Pushes the next of the sound by the clock, in pieces of any length, cut anywhere; ends early with `over`.

        Raises ConnectionClosed.
        """
        began, first = time.monotonic(), self.at
        last = self.at + round(seconds * self._rate)
        while self.at < last and not over.is_set():
            samples = min(last - self.at, round(self._chance.uniform(SHORTEST_S, LONGEST_S) * self._rate))
            await _until(began + (self.at + samples - first) / self._rate / speed)
            await self.push(samples)

    async def push(self, samples: int) -> None:
        """The next samples, as one message or two."""
        data = self._account.sound.data(self.at, self.at + samples)
        cut = self._chance.randrange(len(data)) if self._chance.random() < 0.3 else 0
        for piece in (data[:cut], data[cut:]):
            if piece:
                await self.say(piece)
        heard, start = self._account.heard, self.at
        self.at += samples
        if heard and isinstance(before := heard[-1], Sent):  # what is sent again was heard before
            heard[-1] = Sent(before.start, max(before.end, self.at))
        else:
            heard.append(Sent(start, self.at))

    async def say(self, data: bytes | str) -> None:
        """Raises ConnectionClosed."""
        assert self._connection is not None
        await self._connection.send(data)

    def count(self, samples: int) -> None:
        """So many samples were sent that are not the sound's."""
        self.at += samples
        self._account.heard.append(Sent(self.at - samples, self.at))

    def abandon(self) -> None:
        """Whatever it was about."""
        if self._connection is not None:
            self._connection.transport.abort()
        if self._task is not None:
            self._task.cancel()

    def skip(self, seconds: float, slack_s: float | None = None) -> None:
        """So much of the sound is never sent. slack_s: how well that is known to the server, if not exactly."""
        samples = round(seconds * self._rate)
        lost = samples / self._rate
        self._account.heard.append(Lost(lost) if slack_s is None else Lost(lost, slack_s))
        self.at += samples

    async def caught_up(self) -> None:
        """Waits until the server has told of all that it was sent, and so has it."""
        self.waits_for = "what is owed"
        last = math.floor(((self.at / self._rate - HELD_BACK_S) * RATE - 1.5 * HOP) / HOP)
        async with asyncio.timeout(OWED_S):
            while self._last < last:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)

    async def break_off(self) -> None:
        """Without a word."""
        assert self._connection is not None
        self._connection.transport.abort()
        await self._gone()

    async def end(self) -> None:
        """Says so, and waits for what is owed and the server's close."""
        await self.say('{"type":"end"}')
        await self.closed()
        self._account.ended = True

    async def closed(self) -> None:
        """Waits until the server closes. Raises TimeoutError if it does not."""
        self.waits_for = "the close"
        assert self._connection is not None
        async with asyncio.timeout(LAST_S):
            await self._connection.wait_closed()
        await self._gone()

    async def _gone(self) -> None:
        assert self._connection is not None
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._connection.wait_closed()
        self.code = self._connection.close_code

    async def _listen(self, connection: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for line in connection:
                if (message := _read(line, self._account)) is not None:
                    self._into.append(message)
                    if isinstance(message, Frame):
                        self._last = message.frame
                    elif isinstance(message, Gap):  # what was in it will not come
                        self._last = max(self._last, int((message.start + message.lost_s + ROUNDED_S) * RATE / HOP))


_HEAD = re.compile(r'\{"type":"frame","stream":"(?:[^"\\]|\\.)*","frame":(\d+),"start":([-0-9.e]+),"end":([-0-9.e]+),')
_DROPPED = re.compile(r'"dropped":(\d+)\}$')


def _read(line: str | bytes, account: Account) -> Message | None:
    """A message; of a frame that is not to be compared only where it lies: there are very many of them."""
    text = line if isinstance(line, str) else line.decode()
    if account.watched or (head := _HEAD.match(text)) is None:
        return parse(text)
    dropped = _DROPPED.search(text, len(text) - 20)
    start, end = float(head[2]), float(head[3])
    return Frame(account.name, int(head[1]), start, end, {}, dropped=0 if dropped is None else int(dropped[1]))


async def _until(when: float) -> None:
    if (early := when - time.monotonic()) > 0:
        await asyncio.sleep(early)


def _narrow(address: str) -> socket.socket:
    """A connection whose end takes next to nothing that is not read."""
    host, port = address.removeprefix("ws://").split(":")
    plug = socket.socket()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    plug.connect((host, int(port)))
    plug.setblocking(False)
    return plug
