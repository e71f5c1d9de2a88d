"""A day of many streams in minutes: messages of real music, recorded once, through server, history and MQTT.

python -m tests.soak.recorded HOURS STREAMS SOUND... prints one JSON object. The model hears each SOUND once; after that
every stream plays them in an order of its own, with events of the product's detector, while a subscriber and the
broker's client listen. It goes as fast as the history and the broker follow.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from streamtag.api import Tagger, load
from streamtag.cli.runtime import hello, select
from streamtag.history.recorder import Recorder
from streamtag.inference.events import EventDetectorBank
from streamtag.model.batched import torch_threads
from streamtag.protocol.messages import End, Event, Frame, Message
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from streamtag.sinks.background import BackgroundSink
from streamtag.sinks.base import CallbackSink, SinkGroup
from streamtag.sinks.mqtt import MqttSink
from streamtag.sinks.mqtt_address import MqttAddress
from tests.benchmarks.process import resident_mib, stop
from tests.sinks.mosquitto import Broker
from tests.soak.memory import mib_per_hour
from tests.soak.unattended import DRAIN_TIMEOUT_S, POLL_INTERVAL_S, Clients, figures_of_events

READING_INTERVAL_S = 900.0  # of a stream
MAX_BEHIND = 400  # messages that the history may be behind


class Streams:
    """Plays recorded probabilities as streams."""

    def __init__(self, tagger: Tagger, sounds: list[str], streams: int) -> None:
        results = [tagger.tag(sound) for sound in sounds]
        self._clips = [(result.probs, result.concept_probs) for result in results]
        self._spec = tagger.network.spec
        names = [concept.name for concept in tagger.concepts]
        self._bank = EventDetectorBank(tagger.tags, names, [concept.threshold for concept in tagger.concepts], streams)
        self._rows = np.array([self._bank.add() for _ in range(streams)])
        self._names = [f"station-{number:02d}" for number in range(streams)]
        self._orders = [random.Random(number) for number in range(streams)]
        self._queues: list[list[Any]] = [[] for _ in range(streams)]

    def step(self, number: int) -> list[Message]:
        """Return the messages of frame `number` of all streams."""
        rows = [self._next(stream) for stream in range(len(self._rows))]
        probs, concepts = (np.stack(part) for part in zip(*rows, strict=True))
        time_s, half_s = number * self._spec.hop_s, self._spec.window_s / 2
        changes = self._bank.feed(self._rows, probs, concepts, np.full(len(rows), time_s))
        messages: list[Message] = []
        values = zip(self._names, probs.tolist(), concepts.tolist(), changes, strict=True)
        for name, row, concept_row, events in values:
            tags = dict(zip(self._bank.tags, row, strict=True))
            own = dict(zip(self._bank.concepts, concept_row, strict=True))
            messages.append(Frame(name, number, time_s - half_s, time_s + half_s, tags, 0.4, concepts=own))
            messages += [Event(name, *event, concept=event.tag) for event in events]
        return messages

    def end(self, seconds: float) -> list[Message]:
        messages: list[Message] = []
        for name, row in zip(self._names, self._rows.tolist(), strict=True):
            messages += [Event(name, *event, concept=event.tag) for event in self._bank.close(row, seconds)]
            messages.append(End(name, seconds, self._bank.frames(row), *self._bank.summaries(row)))
        return messages

    def _next(self, stream: int) -> Any:
        queue = self._queues[stream]
        if not queue:
            probs, concepts = self._orders[stream].choice(self._clips)
            queue.extend(zip(probs[::-1], concepts[::-1], strict=True))
        return queue.pop()


def run(hours: float, streams: int, sounds: list[str], folder: Path) -> dict[str, Any]:
    """Return what was observed."""
    database, received = folder / "h.sqlite", folder / "events.txt"
    tagger, broker, reports = load(device="cpu"), Broker(folder), list[str]()
    played, selection = Streams(tagger, sounds, streams), select(tagger)
    broker.start()
    readings: list[tuple[float, float]] = []
    with ExitStack() as resources:
        resources.callback(broker.stop)
        output = resources.enter_context(received.open("w"))
        command = ["mosquitto_sub", "-p", str(broker.port), "-t", "home/+/events", "-q", "1"]
        listener = subprocess.Popen(command, stdout=output, text=True)
        resources.callback(stop, listener)
        server = resources.enter_context(ServerThread(ServerConfig(port=0), hello(tagger)))
        clients = Clients(server.address.replace("http", "ws", 1).rstrip("/"), b"", 0.0)
        subscriber = threading.Thread(target=asyncio.run, args=(clients.subscribe(streams),))
        subscriber.start()
        while not server.subscribers:
            time.sleep(0.01)
        stored = [0]

        def count(message: Message) -> None:
            stored[0] += isinstance(message, Frame | Event | End)

        recorder = Recorder(database, reports.append)
        history = BackgroundSink([recorder, CallbackSink(count)], poll=recorder.poll)
        history.write(hello(tagger))
        mqtt = MqttSink(MqttAddress.parse(broker.url, None), selection, lambda notice: reports.append(notice.text))
        sinks, sent, began, cpu_s = SinkGroup([history, mqtt]), 0, time.monotonic(), time.process_time()
        frames = round(3600 * hours / tagger.network.spec.hop_s)
        for number in range(frames + 1):
            time_s = number * tagger.network.spec.hop_s
            messages = played.step(number) if number < frames else played.end(time_s)
            server.publish_all(messages)
            for message in messages:
                sinks.publish(message)
            sent += len(messages)
            while sent - stored[0] > MAX_BEHIND:
                time.sleep(0.001)
            if time_s >= READING_INTERVAL_S * (len(readings) + 1):
                readings.append((time_s, resident_mib(os.getpid())))
                print(f"{time_s / 3600:.2f} h: {readings[-1][1]:.1f} MiB", file=sys.stderr, flush=True)
        subscriber.join(DRAIN_TIMEOUT_S)
        sinks.raise_failure()
        history.close()
        mqtt.close()
        elapsed_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_s
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while received.read_text().count("\n") < sum(clients.events.values()) and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_S)
    return {
        "hours": hours,
        "streams": streams,
        "elapsed_s": elapsed_s,
        "cpu_s": cpu_s,
        "mib_per_hour": mib_per_hour(readings),
        "first_mib": readings[0][1],
        "last_mib": readings[-1][1],
        **figures_of_events(clients, database, received),
        "database_mb_per_stream_and_day": database.stat().st_size / 1e6 / streams / (hours / 24),
        "reports": reports,
    }


if __name__ == "__main__":
    with TemporaryDirectory() as place, torch_threads(1):
        print(json.dumps(run(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:], Path(place)), indent=1))
