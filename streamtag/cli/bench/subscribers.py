"""Subscribers of the live benchmark, in their own process: `python -m streamtag.cli.bench.subscribers URL COUNT`.

They print `ready` when all are connected, note when each frame arrives until the server closes the connections, and
then print one line of JSON: `{"12": [seconds, ...], ...}`, for each frame its arrival times on the monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import defaultdict
from contextlib import AsyncExitStack, suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

ArrivalTimes = dict[int, list[float]]


async def receive(client: ClientConnection, times: ArrivalTimes) -> None:
    """Note the arrival of every frame until the server closes the connection."""
    with suppress(ConnectionClosed):
        async for line in client:
            now = time.monotonic()
            message = json.loads(line)
            if message["type"] == "frame":
                times[message["frame"]].append(now)


async def main(url: str, count: int) -> None:
    times: ArrivalTimes = defaultdict(list)
    async with AsyncExitStack() as resources, asyncio.TaskGroup() as tasks:
        for _ in range(count):
            client = await resources.enter_async_context(connect(url, compression=None, open_timeout=30))
            tasks.create_task(receive(client, times))
        print("ready", flush=True)
    print(json.dumps(times), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
