"""`--mqtt` of the commands, with a real Mosquitto: what is on the broker while they run, at their end, after a kill."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streamtag.protocol.messages import Concept, Event, Frame, Hello
from streamtag.protocol.reader import parse
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from tests.cli.conftest import MakeSound, Run, StartProgram, send, song
from tests.cli.serve_process import END, Start, as_pcm, begin, push
from tests.conftest import Need
from tests.server.support import read_all
from tests.sinks.mosquitto import PROGRAM, WAIT_S, Broker, Received, Subscriber, latest, running

RAW = ("--rate", "16000", "--format", "f32le")


@pytest.fixture
def mosquitto(need: Need, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Subscriber]]:
    """A broker that runs, and a subscriber to everything."""
    need("mosquitto", PROGRAM is not None, "machine has no mosquitto")
    with running(tmp_path_factory.mktemp("broker")) as (broker, subscribe):
        broker.start()
        yield broker, subscribe()


def events(received: list[Received], topic: str) -> list[Event]:
    found = [parse(each.payload) for each in received if each.topic == topic]
    return [event for event in found if isinstance(event, Event)]


def test_listen_publishes_the_events_that_it_prints(streamtag: Run, mosquitto: tuple[Broker, Subscriber]) -> None:
    broker, reader = mosquitto
    url = broker.url.replace("//", "//bob:secret@")
    answer = streamtag(
        *("listen", "--from", "-", *RAW, "--json", "--name", "Bar 1", "--mqtt", url, "--mqtt-discovery", "ha"),
        stdin=song(8).tobytes(),
    )
    assert answer.code == 0, answer.err
    printed = [event for event in map(parse, answer.out.splitlines()) if isinstance(event, Event)]
    got = reader.wait_for_payload("home/status", "offline")
    assert events(got, "home/Bar%201/events") == printed != []
    state = latest(got)
    assert {payload for topic, payload in state.items() if topic.endswith("/state")} == {"OFF"}
    assert state["home/Bar%201/status"] == "offline"
    (config,) = [json.loads(payload) for topic, payload in state.items() if topic.startswith("ha/device/")]
    assert (config["device"]["name"], config["device"]["model"]) == ("Bar 1", "small")
    assert "secret" not in answer.out + answer.err


def test_file_publishes_each_file_as_a_stream(
    streamtag: Run, mosquitto: tuple[Broker, Subscriber], make_sound: MakeSound
) -> None:
    broker, reader = mosquitto
    answer = streamtag("file", make_sound("a.wav"), make_sound("b.wav", seed=1), "--mqtt", broker.url)
    assert answer.code == 0, answer.err
    state = latest(reader.wait_for_payload("home/status", "offline"))
    assert state["home/a.wav/status"] == state["home/b.wav/status"] == "offline"


@pytest.mark.slow
def test_serve_publishes_the_events_of_every_stream(start: Start, mosquitto: tuple[Broker, Subscriber]) -> None:
    broker, reader = mosquitto
    server = start("--mqtt", broker.url)
    producers = [server.connect(f"/ingest/hall-{number}") for number in (1, 2)]
    received = []
    for number, producer in enumerate(producers):
        begin(producer)
        push(producer, as_pcm(song(6, seed=number).astype(np.float64)))
        producer.send(END)
        received.append([message for message in read_all(producer) if isinstance(message, Event)])
    assert all(received)
    assert server.stop()[0] == 130
    got = reader.wait_for_payload("home/status", "offline")
    assert [events(got, f"home/hall-{number}/events") for number in (1, 2)] == received


def test_watch_publishes_what_was_on_before_it_came(streamtag: Run, mosquitto: tuple[Broker, Subscriber]) -> None:
    broker, reader = mosquitto
    concepts = (Concept("guitar", "instrument", ("guitar",), 0.5), Concept("slow", "mood", ("slow",), 0.5))
    hello = Hello("streamtag 0", "small", ("guitar", "slow"), 16000, 0.256, 0.512, 0.384, (0.5, 0.5), concepts)
    with ServerThread(ServerConfig(port=0), hello) as server:
        server.publish(
            Frame("mic", 0, -0.25, 0.25, {"guitar": 0.9, "slow": 0.1}, concepts={"guitar": 0.9, "slow": 0.1})
        )
        server.publish(Event("mic", "guitar", "on", 0.0, "guitar"))
        answers: list[str] = []
        watch = threading.Thread(
            target=lambda: answers.append(
                streamtag("watch", server.address, "--json", "--for", "4", "--mqtt", broker.url, small=False).out
            )
        )
        watch.start()
        reader.wait_for_payload("home/mic/guitar/state", "ON")
        server.publish(Event("mic", "slow", "on", 0.5, "slow"))
        got = reader.wait_for_payload("home/mic/status", "offline")
        watch.join(WAIT_S)
    assert [event.tag for event in events(got, "home/mic/events")] == ["slow"]
    assert latest(got)["home/mic/slow/state"] == "ON"  # it has not ended
    assert '"history"' not in answers[0]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_the_broker_says_offline_for_a_program_that_was_killed(
    program: StartProgram, mosquitto: tuple[Broker, Subscriber], model: Path
) -> None:
    broker, reader = mosquitto
    process = program("listen", "--from", "-", *RAW, "--model", model, "--mqtt", broker.url)
    send(process, song(4).tobytes())
    reader.wait_for_payload("home/stdin/status", "online")
    reader.wait_for_payload("home/status", "online")
    process.kill()
    reader.wait_for_payload("home/status", "offline")
