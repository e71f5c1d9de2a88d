"""Those whom a server has to bear beside its producers: who never read, and who send what makes no sense."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

EVERY_S = 0.15
ANSWER_S = 10.0
SECRET = "Sec-WebSocket-Key: c3RyZWFtdGFnIHN0YWxscw==\r\nSec-WebSocket-Version: 13\r\n"
UPGRADE = f"Upgrade: websocket\r\nConnection: Upgrade\r\n{SECRET}\r\n"

WRONG: Mapping[str, str] = {  # what is asked for, and the status that answers it
    "/ingest/wrong?rate=0": "400",
    "/ingest/wrong?rate=1e99": "400",
    "/ingest/wrong?rate=16000.5": "400",
    "/ingest/wrong?format=mp3": "400",
    "/ingest/wrong?channels=99": "400",
    "/ingest/wrong?channels=-1": "400",
    "/ingest/wrong?position=-5": "400",
    "/ingest/wrong?position=x": "400",
    f"/ingest/{'n' * 65}": "400",
    "/ingest/%20wrong": "400",
    "/ingest/%ff%fe": "400",
    "/ingest/a%2Fb": "400",
    "/ingest/%0A": "400",
}


async def ignore(address: str, over: asyncio.Event) -> None:
    """Subscribes to everything and never reads; once more when it is thrown out."""
    while not over.is_set():
        with suppress(OSError, asyncio.TimeoutError):
            reader, writer = await _connected(address, limit=1)
            try:
                writer.write(_request(address, "/"))
                reader._transport.pause_reading()  # type: ignore[attr-defined]
                while not over.is_set() and not writer.is_closing():
                    await asyncio.sleep(0.2)
            finally:
                writer.transport.abort()


async def annoy(address: str, over: asyncio.Event, seen: Counter[str], problems: list[str]) -> None:
    """Requests that are wrong, and bytes that are none, one after the other; seen: how often what came of it."""
    chance = random.Random(3)
    while not over.is_set():
        await asyncio.sleep(EVERY_S)
        try:
            async with asyncio.timeout(ANSWER_S):
                await chance.choice((_garbage, _half, _wrong))(address, chance, seen, problems)
        except TimeoutError:
            problems.append("a wrong request was never answered")
        except OSError:
            seen["cut"] += 1


async def _garbage(address: str, chance: random.Random, seen: Counter[str], problems: list[str]) -> None:
    del problems
    reader, writer = await _connected(address)
    writer.write(os.urandom(chance.randrange(1, 5000)) + b"\r\n\r\n")
    await _answer(reader, writer, seen, "garbage")


async def _half(address: str, chance: random.Random, seen: Counter[str], problems: list[str]) -> None:
    """Breaks off in the middle of the request."""
    del chance, problems
    _, writer = await _connected(address)
    writer.write(b"GET /ingest/half HTTP/1.1\r\nHost: x\r\nUpgr")
    await writer.drain()
    writer.transport.abort()
    seen["half"] += 1


async def _wrong(address: str, chance: random.Random, seen: Counter[str], problems: list[str]) -> None:
    path, wanted = chance.choice(list(WRONG.items()))
    reader, writer = await _connected(address)
    writer.write(_request(address, path))
    status = await _answer(reader, writer, seen, "wrong")
    if status != wanted:
        problems.append(f"{path}: answered with {status or 'nothing'}, not {wanted}")


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Counter[str], kind: str) -> str:
    """-> the status of an HTTP answer, "" if there is none."""
    try:
        words = (await reader.readline()).decode(errors="replace").split()
    finally:
        writer.transport.abort()
    status = words[1] if len(words) > 1 else ""
    seen[f"{kind} {status}".strip()] += 1
    return status


def _request(address: str, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\n{UPGRADE}".encode()


async def _connected(address: str, limit: int = 1 << 16) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = urlsplit(address)
    return await asyncio.open_connection(place.hostname, place.port, limit=limit)
