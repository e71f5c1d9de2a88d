"""The clients of a churn run: producers, subscribers, and those that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import random
import socket
import time
from collections import Counter
from typing import Any, Self
from urllib.parse import quote, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamtag.protocol.messages import End, Frame, Gap, Message
from streamtag.protocol.reader import parse
from tests.soak.stream_record import HOP, RATE, ROUNDING_S, LostAudio, SentAudio, StreamRecord

OPEN_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_S = 20.0
CATCH_UP_TIMEOUT_S = 6.0
ANSWER_TIMEOUT_S = 10.0
BAD_REQUEST_INTERVAL_S = 0.15
MAX_RESAMPLER_DELAY_S = 0.15  # at 8 kHz 0.116
MIN_CHUNK_S, MAX_CHUNK_S = 0.02, 0.4
SMALL_RECEIVE_BUFFER = 4096  # bytes
INVALID_PATHS = ("a?rate=0", "a?rate=1e99", "a?format=mp3", "a?channels=99", "a?position=-5", "n" * 65, "%ff%fe")
HANDSHAKE = "Sec-WebSocket-Key: c3RyZWFtdGFnIHN0YWxscw==\r\nSec-WebSocket-Version: 13\r\n"
UPGRADE = f"Upgrade: websocket\r\nConnection: Upgrade\r\n{HANDSHAKE}\r\n"


class RefusedError(Exception):
    """An HTTP status in place of a connection. retry_after_s: when to try again."""

    def __init__(self, status: int, retry_after_s: float) -> None:
        super().__init__(f"refused with {status}")
        self.status, self.retry_after_s = status, retry_after_s


class SubscriberClient:
    """A subscriber to one stream that connects before its producer and records all messages."""

    def __init__(self, address: str, record: StreamRecord) -> None:
        self._url = f"{address}/streams/{quote(record.name, safe='')}"
        self._record = record
        self.has_ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._connection = await connect(self._url, compression=None, open_timeout=OPEN_TIMEOUT_S, max_queue=512)
        await self._connection.recv()  # hello
        self._task = asyncio.create_task(self._receive())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        self._connection.transport.abort()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _receive(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for line in self._connection:
                if (message := parse(line)) is not None:
                    self._record.messages.append(message)
                    if isinstance(message, End):
                        self.has_ended.set()


class ProducerClient:
    """One producer and its connections, one after the other.

    at: the sample that it sends next; close_code: of the last connection; waiting_for: what it expects now.
    """

    def __init__(self, address: str, record: StreamRecord, messages: list[Message], rng: random.Random) -> None:
        """messages: receives those of the server."""
        self._address, self._record, self._messages, self._rng = address, record, messages, rng
        self._connection: ClientConnection
        self._task: asyncio.Task[None] | None = None
        self._rate = record.signal.format.rate
        self._last_frame = -1  # that came or lies in a gap
        self.at = 0
        self.was_accepted = False
        self.waiting_for = ""
        self.close_code: int | None = None

    async def open(self, position: int | None = None, read: bool = True) -> None:
        """Connect and wait for `ready`. read: whether to read before `start_reading`. Raises RefusedError."""
        format = self._record.signal.format
        query = f"rate={format.rate}&format={format.encoding}&channels={format.channels}"
        query += "" if position is None else f"&position={position}"
        url = f"{self._address}/ingest/{quote(self._record.name, safe='')}?{query}"
        options: dict[str, Any] = {} if read else {"sock": _slow_socket(self._address), "max_queue": 1}
        try:
            self._connection = await connect(url, compression=None, open_timeout=OPEN_TIMEOUT_S, **options)
        except InvalidStatus as error:
            retry_after_s = float(error.response.headers.get("Retry-After", "1"))
            raise RefusedError(error.response.status_code, retry_after_s) from None
        self.close_code, self.was_accepted = None, True
        while json.loads(await self._connection.recv())["type"] != "ready":
            pass
        if read:
            self.start_reading()

    def start_reading(self) -> None:
        self._task = asyncio.create_task(self._receive())

    async def play(self, seconds: float, stop: asyncio.Event, speed: float = 1.0) -> None:
        """Send the next audio in real time, in chunks cut anywhere, until `stop`. Raises ConnectionClosed."""
        began, first = time.monotonic(), self.at
        last = self.at + round(seconds * self._rate)
        while self.at < last and not stop.is_set():
            samples = min(last - self.at, round(self._rng.uniform(MIN_CHUNK_S, MAX_CHUNK_S) * self._rate))
            due = began + (self.at + samples - first) / self._rate / speed
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            data = self._record.signal.pcm(self.at, self.at + samples)
            cut = self._rng.randrange(len(data)) if self._rng.random() < 0.3 else 0
            for part in (data[:cut], data[cut:]):
                if part:
                    await self.send(part)
            self._mark_sent(samples)

    async def send(self, data: bytes | str) -> None:
        """Raises ConnectionClosed."""
        await self._connection.send(data)

    def mark_noise(self, samples: int) -> None:
        """Record samples that were sent but do not belong to the signal."""
        self.at += samples
        self._record.fed.append(SentAudio(self.at - samples, self.at))

    def skip(self, seconds: float, tolerance_s: float = ROUNDING_S) -> None:
        """Never send the next audio. tolerance_s: of its length as the server measures it."""
        samples = round(seconds * self._rate)
        self._record.fed.append(LostAudio(samples / self._rate, tolerance_s))
        self.at += samples

    def rewind(self, seconds: float) -> None:
        """Send the last audio again, of which the server may have received only a part."""
        self.at = max(0, self.at - round(seconds * self._rate))

    async def catch_up(self) -> None:
        """Wait until the server's messages show that it has received everything."""
        self.waiting_for = "frames"
        last = math.floor(((self.at / self._rate - MAX_RESAMPLER_DELAY_S) * RATE - 1.5 * HOP) / HOP)
        async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
            while self._last_frame < last:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)

    async def disconnect(self) -> None:
        """Break the connection without a close message."""
        self._connection.transport.abort()
        await self.wait_closed()

    async def end(self) -> None:
        """Send `end`, and wait for the remaining messages and the server's close."""
        await self.send('{"type":"end"}')
        await self.wait_closed()
        self._record.has_ended = True

    async def wait_closed(self) -> None:
        """Raises TimeoutError if the server does not close."""
        self.waiting_for = "the close"
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await self._connection.wait_closed()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self.close_code = self._connection.close_code

    def abort(self) -> None:
        if self.was_accepted:
            self._connection.transport.abort()
        if self._task is not None:
            self._task.cancel()

    def _mark_sent(self, samples: int) -> None:
        fed, start = self._record.fed, self.at
        self.at += samples
        if fed and isinstance(last := fed[-1], SentAudio):  # audio that is sent again was recorded before
            fed[-1] = SentAudio(last.start, max(last.end, self.at))
        else:
            fed.append(SentAudio(start, self.at))

    async def _receive(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for line in self._connection:
                if (message := parse(line)) is not None:
                    self._messages.append(message)
                    if isinstance(message, Frame):
                        self._last_frame = message.frame
                    elif isinstance(message, Gap):
                        end = message.start + message.lost_s + ROUNDING_S
                        self._last_frame = max(self._last_frame, int(end * RATE / HOP))


async def never_read(address: str, stop: asyncio.Event) -> None:
    """Subscribe to everything and never read; connect again after being closed."""
    while not stop.is_set():
        with contextlib.suppress(OSError):
            _, writer = await _connect(address, limit=1)
            try:
                writer.write(_request(address, "/"))
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                while not stop.is_set() and not writer.is_closing():
                    await asyncio.sleep(0.2)
            finally:
                writer.transport.abort()


async def send_bad_requests(address: str, stop: asyncio.Event, answers: Counter[str], problems: list[str]) -> None:
    """Send garbage, half requests and invalid queries, and count the statuses that the server answers with."""
    rng = random.Random(3)
    while not stop.is_set():
        path, garbage = f"/ingest/{rng.choice(INVALID_PATHS)}", os.urandom(rng.randrange(1, 5000)) + b"\r\n\r\n"
        half, invalid = b"GET /ingest/half HTTP/1.1\r\nHost: x\r\nUpgr", _request(address, path)
        request = rng.choice((garbage, half, invalid))
        status = ""
        with contextlib.suppress(OSError):
            reader, writer = await _connect(address)
            try:
                writer.write(request)
                if request is not half:
                    line = await asyncio.wait_for(reader.readline(), ANSWER_TIMEOUT_S)
                    status = " ".join(line.decode(errors="replace").split()[1:2])
            except TimeoutError:
                problems.append(f"a bad request was never answered: {request[:60]!r}")
            finally:
                writer.transport.abort()
            if request is invalid and status != "400":
                problems.append(f"{path}: answered with {status or 'nothing'}, not 400")
        answers[status] += 1
        await asyncio.sleep(BAD_REQUEST_INTERVAL_S)


def _request(address: str, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\n{UPGRADE}".encode()


async def _connect(address: str, limit: int = 1 << 16) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = urlsplit(address)
    return await asyncio.open_connection(place.hostname, place.port, limit=limit)


def _slow_socket(address: str) -> socket.socket:
    """Return a connected socket that takes next to nothing that is not read."""
    place, result = urlsplit(address), socket.socket()
    result.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_RECEIVE_BUFFER)
    result.connect((place.hostname, place.port))
    result.setblocking(False)
    return result
