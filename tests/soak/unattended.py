"""A server that is left alone: hours of many streams, faster than they play, with a history, MQTT and a subscriber.

python -m tests.soak.unattended MODEL HOURS STREAMS [SOUND...] prints one JSON object. The producers send SOUND (files;
by default generated music) again and again, as fast as the server takes it. `missing_*` and `extra_*`: events that the
database and the broker lack, or have in excess, compared with what the subscriber received.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from streamtag.audio.decoder import open_source
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.history.schema import open_for_reading
from streamtag.scheduler.load import music
from tests.benchmarks.process import mib_per_hour, program_cpu_s, program_mib, resident_mib, stop
from tests.benchmarks.sockets import serving
from tests.sinks.mosquitto import Broker

READING_INTERVAL_S = 60.0  # of a stream
POLL_INTERVAL_S = 0.5
DRAIN_TIMEOUT_S = 60.0  # for the events on their way to the broker, after the last stream has ended
FRAME, DROPPED = '{"type":"frame"', '"dropped":'
EventKey = tuple[str, str, str, float]  # stream, concept, state, time


class Clients:
    """The producers and the subscriber. position_s: of each stream; events: what the subscriber received."""

    def __init__(self, address: str, sound: bytes, seconds: float) -> None:
        self._address, self._sound, self._seconds = address, sound, seconds
        self.position_s: dict[str, float] = {}
        self.events: Counter[EventKey] = Counter()
        self.frames = self.dropped = 0

    async def run(self, streams: int) -> None:
        """Run until all streams have ended."""
        async with asyncio.TaskGroup() as tasks:
            is_subscribed = asyncio.Event()
            tasks.create_task(self.subscribe(streams, is_subscribed))
            await is_subscribed.wait()
            for number in range(streams):
                tasks.create_task(self._produce(number, streams))

    async def subscribe(self, streams: int, is_subscribed: asyncio.Event | None = None) -> None:
        """Receive until so many streams have ended."""
        url = f"{self._address}/"
        async with connect(url, compression=None, max_queue=4096, ping_interval=None) as connection:
            if is_subscribed is not None:
                is_subscribed.set()
            await self._receive(connection, streams)

    async def _produce(self, number: int, streams: int) -> None:
        name, rate = f"station-{number:02d}", 2 * SAMPLE_RATE
        url = f"{self._address}/ingest/{name}?rate={SAMPLE_RATE}&format=s16le&top=1"
        async with connect(url, compression=None, ping_interval=None) as connection:
            reading = asyncio.create_task(_drain(connection))
            offset = number * len(self._sound) // streams // rate
            for second in range(round(self._seconds)):
                at = (offset + second) * rate % (len(self._sound) - rate)
                await connection.send(self._sound[at : at + rate])
                self.position_s[name] = second + 1.0
            await connection.send('{"type":"end"}')
            await reading

    async def _receive(self, connection: Any, streams: int) -> None:
        ended = 0
        async for line in connection:
            if line.startswith(FRAME):  # parsing every frame would take most of the time
                self.frames += 1
                self.dropped += json.loads(line)["dropped"] if DROPPED in line else 0
                continue
            message = json.loads(line)
            if message["type"] == "event":
                self.events[event_key(message)] += 1
            elif message["type"] == "end":
                ended += 1
                if ended == streams:
                    return


async def _drain(connection: Any) -> None:
    with suppress(ConnectionClosed):
        async for _ in connection:
            pass


def event_key(message: dict[str, Any]) -> EventKey:
    return message["stream"], message["concept"], message["state"], message["time"]


def stored_events(path: Path) -> Counter[EventKey]:
    """Return the events that a history has."""
    events: Counter[EventKey] = Counter()
    with closing(open_for_reading(path)) as connection:
        for stream, concept, on_s, off_s in connection.execute("SELECT stream, concept, on_s, off_s FROM heard"):
            events[stream, concept, "on", on_s] += 1
            if off_s is not None:
                events[stream, concept, "off", off_s] += 1
    return events


def published_events(lines: Iterable[str]) -> Counter[EventKey]:
    """Return the events among what a subscriber of the broker received."""
    return Counter(event_key(json.loads(line)) for line in lines if line.startswith("{"))


def figures_of_events(clients: Clients, database: Path, received: Path) -> dict[str, Any]:
    """Return what the subscriber received, and how the history and the file of the broker's client differ from it."""
    stored, published = stored_events(database), published_events(received.read_text().splitlines())
    with closing(sqlite3.connect(database)) as connection:
        (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
    return {
        "frames": clients.frames,
        "frames_dropped_for_the_subscriber": clients.dropped,
        "events": clients.events.total(),
        "missing_stored": (clients.events - stored).total(),
        "extra_stored": (stored - clients.events).total(),
        "missing_published": (clients.events - published).total(),
        "extra_published": (published - clients.events).total(),
        "integrity": integrity,
    }


def pcm(paths: list[str]) -> bytes:
    """Return sounds joined, as signed 16-bit mono samples at 16 kHz."""
    chunks = [music(120.0)] if not paths else []
    for path in paths:
        with open_source(path) as source:
            chunks += list(source)
    return (np.clip(np.concatenate(chunks), -1, 1) * 32767).astype("<i2").tobytes()


async def watch_memory(pid: int, clients: Clients, readings: list[tuple[float, float]], main: list[float]) -> None:
    """Note (mean position of the streams [s], memory of the program [MiB]) every so often.

    main: of its first process alone.
    """
    while True:
        await asyncio.sleep(POLL_INTERVAL_S)
        mean_s = sum(clients.position_s.values()) / max(1, len(clients.position_s))
        if mean_s >= READING_INTERVAL_S * (len(readings) + 1):
            readings.append((mean_s, program_mib(pid)))
            main.append(resident_mib(pid))
            print(f"{mean_s / 3600:.2f} h: {readings[-1][1]:.1f} MiB", file=sys.stderr, flush=True)


def run(model: Path, hours: float, streams: int, sounds: list[str], folder: Path) -> dict[str, Any]:
    """Return what was observed."""
    database, received = folder / "h.sqlite", folder / "events.txt"
    began = time.monotonic()
    readings: list[tuple[float, float]] = []
    main: list[float] = []
    broker = Broker(folder)
    broker.start()
    with received.open("w") as output, ExitStack() as resources:
        resources.callback(broker.stop)
        command = ["mosquitto_sub", "-p", str(broker.port), "-t", "home/+/events", "-q", "1"]
        listener = subprocess.Popen(command, stdout=output, text=True)
        resources.callback(stop, listener)
        options = ["--history", str(database), "--mqtt", broker.url]
        options += ["--max-streams", str(streams)]
        with serving(model, "cpu", *options) as server:
            clients = Clients(f"ws://127.0.0.1:{server.port}", pcm(sounds), 3600 * hours)

            async def work() -> None:
                memory = asyncio.create_task(watch_memory(server.pid, clients, readings, main))
                await clients.run(streams)
                memory.cancel()

            asyncio.run(work())
            cpu_s = program_cpu_s(server.pid)
            stop(server.process)
            stderr = server.stderr
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while received.read_text().count("\n") < sum(clients.events.values()) and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_S)
    elapsed_s = time.monotonic() - began
    return {
        "hours": hours,
        "streams": streams,
        "elapsed_s": elapsed_s,
        "times_real_time": 3600 * hours * streams / elapsed_s,
        "cpu_s": cpu_s,
        "mib_per_hour": mib_per_hour(readings),
        "mib_per_hour_of_the_first_process": mib_per_hour(
            [(s, mib) for (s, _), mib in zip(readings, main, strict=True)]
        ),
        "first_mib": readings[0][1],
        "last_mib": readings[-1][1],
        **figures_of_events(clients, database, received),
        "database_mb_per_stream_and_day": database.stat().st_size / 1e6 / streams / (hours / 24),
        "problems": [line for line in stderr.splitlines() if "could not" in line or "Traceback" in line],
    }


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        figures = run(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4:], Path(folder))
    print(json.dumps(figures, indent=1))
