"""Producers of `tests.benchmarks.sockets`, in their own process.

`python -m tests.benchmarks.producers ADDRESS SCHEDULE FIRST STEP STREAMS` owns every STEP-th of the streams from FIRST
on. It prints `ready` when all have been admitted or refused, reads a line with the start on the monotonic clock, pushes
by the clock and notes when each frame comes back. At the end it prints one line of JSON, a `Report`.

It costs little, so that the server has the machine: what is sent was made before, websockets' protocol is used without
its connections, and only the number of a frame's JSON is parsed.
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

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from streamtag.audio.resample import SAMPLE_RATE
from streamtag.scheduler.load import DRAIN_TIMEOUT_S, MIN_SLEEP_S, LoadSchedule, TrialRecorder, pcm_chunks

MAX_OPENING = 8  # connections that are opened at the same time
OPEN_TIMEOUT_S = 20.0
FRAME, GAP, READY = b'{"type":"frame"', b'{"type":"gap"', b'{"type":"ready"'
NUMBER = b'"frame":'
END = Frame(Opcode.TEXT, b'{"type":"end"}').serialize(mask=True)


@dataclass(frozen=True)
class Report:
    """What the producers of one process saw. cpu_s: while they pushed. bytes_in: of the frames."""

    delays_s: list[float]
    missing: int
    repeated: int
    gaps: int
    refused: int
    cpu_s: float
    bytes_in: int


class Producer(asyncio.Protocol):
    """One connection to /ingest/NAME. admitted: a future, whether the server accepted it."""

    def __init__(self, address: str, stream: int, recorder: TrialRecorder) -> None:
        url = f"{address}/ingest/bench-{stream:05d}?rate={SAMPLE_RATE}&format=s16le&channels=1"
        self._protocol = ClientProtocol(parse_uri(url), max_size=1 << 20)
        self._stream = stream
        self._recorder = recorder
        self._transport: asyncio.Transport | None = None
        self.admitted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
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
                self._receive(bytes(event.data), now)
            elif isinstance(event, Response) and event.status_code != 101:
                self._refuse()
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._refuse()

    def push(self, data: bytes) -> None:
        """data: a whole WebSocket frame."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _receive(self, data: bytes, now: float) -> None:
        if data.startswith(FRAME):
            at = data.index(NUMBER, len(FRAME)) + len(NUMBER)
            self._recorder.add_frame(self._stream, int(data[at : data.index(b",", at)]), now)
        elif data.startswith(GAP):
            self._recorder.add_gap(self._stream)
        elif data.startswith(READY) and not self.admitted.done():
            self.admitted.set_result(True)

    def _refuse(self) -> None:
        if not self.admitted.done():
            self.admitted.set_result(False)
        self._recorder.refuse(self._stream)

    def _send(self) -> None:
        """Send the handshake and the answers to pings."""
        for data in self._protocol.data_to_send():
            if data and self._transport is not None:
                self._transport.write(data)


async def produce(address: str, schedule: LoadSchedule, streams: list[int]) -> Report:
    """address: ws://HOST:PORT."""
    messages = [Frame(Opcode.BINARY, chunk).serialize(mask=True) for chunk in pcm_chunks()]
    recorder = TrialRecorder(schedule, streams)
    producers = await _connect(address, streams, recorder)
    print("ready", flush=True)
    start = float(await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline))
    cpu_s = time.process_time()
    for due, stream, chunk in schedule.pushes(streams):
        if (early_s := start + due - time.monotonic()) > 0:
            await asyncio.sleep(max(early_s, MIN_SLEEP_S))
        producers[stream].push(messages[(7 * stream + chunk) % len(messages)])
    cpu_s = time.process_time() - cpu_s
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while not recorder.is_complete:
                await asyncio.sleep(DRAIN_TIMEOUT_S / 20)
    trial = recorder.trial(start)
    for producer in producers.values():
        producer.push(END)
    await asyncio.sleep(0.1)
    for producer in producers.values():
        producer.abort()
    counts = trial.missing, trial.repeated, trial.gaps, trial.refused
    bytes_in = sum(producer.bytes_in for producer in producers.values())
    return Report(trial.delays_s.tolist(), *counts, cpu_s, bytes_in)


async def _connect(address: str, streams: list[int], recorder: TrialRecorder) -> dict[int, Producer]:
    """Return the producers of these streams, admitted or refused."""
    where = urlsplit(address)
    loop = asyncio.get_running_loop()
    opening = asyncio.Semaphore(MAX_OPENING)

    async def connect(stream: int) -> Producer:
        async with opening, asyncio.timeout(OPEN_TIMEOUT_S):
            _, producer = await loop.create_connection(
                lambda: Producer(address, stream, recorder), where.hostname or "", where.port or 80
            )
            await producer.admitted
        return producer

    return dict(zip(streams, await asyncio.gather(*map(connect, streams)), strict=True))


def main(address: str, schedule: str, first: int, step: int, streams: int) -> None:
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        parsed = LoadSchedule(**json.loads(schedule))
        report = asyncio.run(produce(address, parsed, list(range(first, streams, step))))
        print(json.dumps(asdict(report)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(word) for word in sys.argv[3:6]))
