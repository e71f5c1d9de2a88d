"""Subscribers for the bench, in a process of their own: `python -m streamtag.cli.bench.readers URL N STALLED`.

N of them note when each frame came; STALLED more connect and read nothing. One line of JSON at the end:
`{"12": [seconds, ...], ...}`, for each frame the times on the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections import defaultdict
from contextlib import suppress
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

SMALL = 4096  # bytes; the receive buffer of those that do not read

Times = dict[int, list[float]]


async def read(url: str, times: Times, ready: asyncio.Event) -> None:
    """Notes the arrival of every frame until the server ends the connection."""
    async with connect(url, compression=None, open_timeout=30) as socket_:
        ready.set()
        with suppress(ConnectionClosed):
            async for line in socket_:
                now = time.monotonic()
                message = json.loads(line)
                if message["type"] == "frame":
                    times[message["frame"]].append(now)


async def stall(url: str, ready: asyncio.Event, ended: asyncio.Event) -> None:
    """Asks for everything and never reads: the system's own buffers are all that it takes."""
    place = urlsplit(url)
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        plain.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(plain, (place.hostname, place.port))
        request = f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        secret = "Sec-WebSocket-Key: c3RyZWFtdGFnIHN0YWxscw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        await loop.sock_sendall(plain, (request + secret).encode())
        ready.set()
        await ended.wait()


async def main(url: str, readers: int, stalled: int) -> None:
    """They come one after another, as a server has a right to expect; then they are all there."""
    times: Times = defaultdict(list)
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as everybody:
        reading = []
        for number in range(stalled + readers):
            ready = asyncio.Event()
            if number < stalled:
                everybody.create_task(stall(url, ready, ended))
            else:
                reading.append(everybody.create_task(read(url, times, ready)))
            await asyncio.wait_for(ready.wait(), 30)
        print("ready", flush=True)
        await asyncio.wait(reading)
        ended.set()
    print(json.dumps(times), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
