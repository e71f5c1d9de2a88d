"""Producers for the bench, in a process of their own: `python -m streamtag.cli.bench.streams.producers ...`.

ADDRESS PACE FIRST STEP STREAMS: this process has every STEP-th of the streams, from FIRST on. It prints `ready` when
all are let in (or refused), waits for a line with the start on the machine's monotonic clock, pushes by the clock and
notes when each frame comes back. One line of JSON at the end: what came of it, as `Report`.

It costs little, so that the server has the machine: what is sent was made before, websockets' protocol is used
without its connections, and of a frame's JSON only its number is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast
from urllib.parse import urlsplit

import numpy as np
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from streamtag.cli.bench.streams.pace import FAREWELL_S, NAP_S, Pace, chunks, place
from streamtag.cli.bench.streams.tally import Tally

TOGETHER = 8  # connections that are opened at once
OPEN_S = 20.0  # for one of them
FRAME, GAP = b'{"type":"frame"', b'{"type":"gap"'
NUMBER = b'"frame":'
END = Frame(Opcode.TEXT, b'{"type":"end"}').serialize(mask=True)


@dataclass(frozen=True)
class Report:
    """What the producers of one process saw. cpu_s, wall_s: while frames were counted. bytes_in: of the frames."""

    after: list[float]
    missing: int
    repeated: int
    gaps: int
    refused: int
    late: list[float]
    cpu_s: float
    wall_s: float
    bytes_in: int


class Producer(asyncio.Protocol):
    """One connection to /ingest/NAME. ready: its result is whether it was let in."""

    def __init__(self, address: str, pace: Pace, stream: int, tally: Tally) -> None:
        url = f"{address}/ingest/bench-{stream:05d}?rate={pace.rate}&format=s16le&channels=1"
        self._protocol = ClientProtocol(parse_uri(url), max_size=1 << 20)
        self._stream = stream
        self._tally = tally
        self._transport: asyncio.Transport | None = None
        self.ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.bytes_in = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._protocol.send_request(self._protocol.connect())
        self._send()

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self.bytes_in += len(data)
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._came(event, now)
            elif isinstance(event, Response) and event.status_code != 101:
                self._refused()
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._refused()

    def push(self, data: bytes) -> None:
        """data: a whole WebSocket frame."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _came(self, message: Frame, now: float) -> None:
        data = bytes(message.data)
        if data.startswith(FRAME):
            at = data.index(NUMBER, len(FRAME)) + len(NUMBER)
            self._tally.frame(self._stream, int(data[at : data.index(b",", at)]), now)
        elif data.startswith(GAP):
            self._tally.gap(self._stream)
        elif data.startswith(b'{"type":"ready"') and not self.ready.done():
            self.ready.set_result(True)

    def _refused(self) -> None:
        if not self.ready.done():
            self.ready.set_result(False)
        self._tally.refuse(self._stream)

    def _send(self) -> None:
        """The handshake, and answers to pings."""
        for data in self._protocol.data_to_send():
            if data and self._transport is not None:
                self._transport.write(data)


async def produce(address: str, pace: Pace, streams: list[int]) -> Report:
    """address: ws://HOST:PORT"""
    sound = messages_of(pace)
    tally = Tally(pace, streams)
    producers = await connected(address, pace, streams, tally)
    print("ready", flush=True)
    start = float(await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline))
    measuring = asyncio.create_task(_cpu(pace, start))
    late = []
    for due, stream, chunk in pace.pushes(streams):
        if (early := start + due - time.monotonic()) > 0:
            await asyncio.sleep(max(early, NAP_S))
        producers[stream].push(sound[place(stream, chunk, len(sound))])
        late.append(time.monotonic() - start - due)
    for _ in range(20):
        await asyncio.sleep(FAREWELL_S / 20)
        if tally.complete():
            break
    cpu_s, wall_s = await measuring
    trial = tally.trial(start, late)
    bytes_in = sum(producer.bytes_in for producer in producers.values())
    await farewell(list(producers.values()))
    return Report(
        np.round(trial.after, 5).tolist(),
        trial.missing,
        trial.repeated,
        trial.gaps,
        trial.refused,
        np.round(trial.late, 5).tolist(),
        cpu_s,
        wall_s,
        bytes_in,
    )


def messages_of(pace: Pace) -> list[bytes]:
    """The piece of music, a WebSocket message a chunk."""
    return [Frame(Opcode.BINARY, chunk).serialize(mask=True) for chunk in chunks(pace)]


async def connected(address: str, pace: Pace, streams: list[int], tally: Tally) -> dict[int, Producer]:
    """The producers of these streams, let in or refused."""
    where = urlsplit(address)
    loop = asyncio.get_running_loop()
    turn = asyncio.Semaphore(TOGETHER)

    async def connect(stream: int) -> Producer:
        async with turn, asyncio.timeout(OPEN_S):
            _, producer = await loop.create_connection(
                lambda: Producer(address, pace, stream, tally), where.hostname or "", where.port or 80
            )
            await producer.ready
        return producer

    return dict(zip(streams, await asyncio.gather(*(connect(stream) for stream in streams)), strict=True))


async def _cpu(pace: Pace, start: float) -> tuple[float, float]:
    """CPU time of this process, and the time by the clock, while frames are counted."""
    first, last = pace.counted
    await asyncio.sleep(start + first - time.monotonic())
    cpu, wall = time.process_time(), time.monotonic()
    await asyncio.sleep(start + last - time.monotonic())
    return time.process_time() - cpu, time.monotonic() - wall


async def farewell(producers: list[Producer]) -> None:
    """The streams end, and their connections are cut."""
    for producer in producers:
        producer.push(END)
    await asyncio.sleep(0.1)
    for producer in producers:
        producer.abort()


def main(address: str, pace: str, first: int, step: int, streams: int) -> None:
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        report = asyncio.run(produce(address, Pace.from_json(pace), list(range(first, streams, step))))
        print(json.dumps(asdict(report)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(word) for word in sys.argv[3:6]))
