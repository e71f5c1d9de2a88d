"""What one more stream takes of a server's memory, once the work's own memory is there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from pathlib import Path

from streamtag.cli.bench.streams.pace import NAP_S, Pace, place
from streamtag.cli.bench.streams.process import program_mib
from streamtag.cli.bench.streams.producers import Producer, connected, farewell, messages_of
from streamtag.cli.bench.streams.sockets import HOST, serving
from streamtag.cli.bench.streams.tally import Tally

FIRST, MORE = 128, 256  # streams: batches are as large with the first as they ever are
SOUND_S = 1.5  # of sound that each of them sends, by the clock; then it stands still
WAIT_S = 30.0  # for their frames


def kib_a_stream(model: Path, device: str, pace: Pace, first: int = FIRST, more: int = MORE) -> float:
    """Of the memory of the server and its worker processes: its connection, its state, what it needs to go on. The
    kernel's is not counted.

    Raises StreamtagError if the server does not start.
    """
    room = ["--max-streams", str(first + more), "--max-producers-per-client", str(first + more)]
    short = replace(pace, warm_s=0.0, seconds=SOUND_S)
    with serving(model, device, *room) as server:
        return asyncio.run(_grown(f"ws://{HOST}:{server.port}", server.pid, short, first, more))


async def _grown(address: str, pid: int, pace: Pace, first: int, more: int) -> float:
    there = await _heard(address, pace, list(range(first)))
    before = program_mib(pid)
    there |= await _heard(address, pace, list(range(first, first + more)))
    grown = program_mib(pid) - before
    await farewell(list(there.values()))
    return 1024 * grown / more


async def _heard(address: str, pace: Pace, streams: list[int]) -> dict[int, Producer]:
    """New streams, whose frames have all come."""
    tally, sound = Tally(pace, streams), messages_of(pace)
    producers = await connected(address, pace, streams, tally)
    start = time.monotonic() + 0.1
    for due, stream, chunk in pace.pushes(streams):
        if (early := start + due - time.monotonic()) > 0:
            await asyncio.sleep(max(early, NAP_S))
        producers[stream].push(sound[place(stream, chunk, len(sound))])
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WAIT_S):
            while not tally.complete():
                await asyncio.sleep(0.1)
    return producers
