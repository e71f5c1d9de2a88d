"""A Mosquitto of the test's own, and a subscriber that keeps everything that it is sent."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import SystemRandom
from typing import NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

WAIT_S = 20.0
PROGRAM = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin")


class Received(NamedTuple):
    """retained: the broker held it before the subscriber came."""

    topic: str
    payload: str
    retained: bool


def free_port() -> int:
    """Return a port below those that systems choose for clients.

    While nothing listens there, a client could otherwise get the port itself, and connect to itself.
    """
    while True:
        port = SystemRandom().randrange(20_000, 32_768)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


class Broker:
    """A broker on a port of 127.0.0.1 that stays the same; it keeps sessions and retained messages when it stops."""

    def __init__(self, folder: Path, *lines: str) -> None:
        """lines: of its configuration; without any, everybody may connect."""
        self.port = free_port()
        self._folder = folder
        self._lines = lines
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}/home"

    def start(self, *lines: str) -> None:
        """lines: instead of those from before."""
        self._lines = lines or self._lines
        common = [
            f"user {getpass.getuser()}",
            "persistence true",
            f"persistence_location {self._folder}/",
            f"listener {self.port} 127.0.0.1",
        ]
        self.start_with("\n".join([*common, *(self._lines or ["allow_anonymous true"])]) + "\n")

    def start_with(self, text: str) -> None:
        """Start with a whole configuration, which has to name the port."""
        config = self._folder / "mosquitto.conf"
        config.write_text(text, "utf-8")
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([str(PROGRAM), "-c", str(config)], stderr=log)
        until = time.monotonic() + WAIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise RuntimeError((self._folder / "mosquitto.log").read_text("utf-8")) from None
                time.sleep(0.02)

    def wait_for_log(self, text: str, count: int) -> None:
        """Wait until the broker has reported something so many times."""
        until = time.monotonic() + WAIT_S
        while (log := (self._folder / "mosquitto.log").read_text("utf-8")).count(text) < count:
            assert time.monotonic() < until, log
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(WAIT_S)
            self._process = None


class Subscriber:
    """Subscribes to everything with a session that outlives connections. received: in the order of arrival."""

    def __init__(self, port: int, name: str = "reader") -> None:
        self.received: list[Received] = []
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: self._add(message)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(WAIT_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: str) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(WAIT_S)

    def wait_for(self, condition: Callable[[list[Received]], object]) -> list[Received]:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.received), WAIT_S), self.received
            return list(self.received)

    def wait_for_payload(self, topic: str, payload: str) -> list[Received]:
        return self.wait_for(lambda got: latest(got).get(topic) == payload)

    def _add(self, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.received.append(Received(message.topic, message.payload.decode(), message.retain))
            self._changed.notify_all()


def latest(received: list[Received]) -> dict[str, str]:
    return {each.topic: each.payload for each in received}


Subscribe = Callable[..., Subscriber]


@contextmanager
def running(folder: Path) -> Iterator[tuple[Broker, Subscribe]]:
    """A broker that has not started, and subscribe(name="reader"); both end with the context."""
    broker = Broker(folder)
    with ExitStack() as resources:
        resources.callback(broker.stop)

        def subscribe(name: str = "reader") -> Subscriber:
            subscriber = Subscriber(broker.port, name)
            resources.callback(subscriber.close)
            return subscriber

        yield broker, subscribe
