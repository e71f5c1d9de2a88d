"""The MQTT sink and a real Mosquitto: states, events, restarts, refusals."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamtag.errors import OutputError
from streamtag.protocol.messages import End, Frame
from tests.conftest import Need
from tests.sinks.conftest import Notices, Open, event
from tests.sinks.mosquitto import PROGRAM, WAIT_S, Broker, Received, Subscribe, latest, running


@pytest.fixture
def mosquitto(need: Need, tmp_path: Path) -> Iterator[tuple[Broker, Subscribe]]:
    """A broker that has not started, and a function that subscribes to it."""
    need("mosquitto", PROGRAM is not None, "machine has no mosquitto")
    with running(tmp_path) as both:
        yield both


def times(received: list[Received], stream: str = "mic") -> list[float]:
    """The times of the events in the order of arrival; one that came again after a lost connection counts once."""
    found = [json.loads(each.payload)["time"] for each in received if each.topic == f"home/{stream}/events"]
    return list(dict.fromkeys(found))


def test_a_late_subscriber_gets_the_states(mosquitto: tuple[Broker, Subscribe], open_sink: Open) -> None:
    broker, subscribe = mosquitto
    broker.start()
    early = subscribe("early")
    sink = open_sink(broker.url)
    sink.write(event(0))
    sink.write(Frame("mic", 1, 0.0, 0.5, {}, concepts={"guitar": 0.9, "slow": 0.1}))
    states = {
        "home/status": "online",
        "home/mic/status": "online",
        "home/mic/guitar/state": "ON",
        "home/mic/slow/state": "OFF",
        "home/mic/strongest": "guitar",
    }
    early.wait_for(lambda received: states.items() <= latest(received).items())
    got = subscribe("late").wait_for(lambda received: states == latest(received))
    assert all(each.retained for each in got)


def test_a_clean_end_says_so(mosquitto: tuple[Broker, Subscribe], open_sink: Open, notices: Notices) -> None:
    broker, subscribe = mosquitto
    broker.start()
    reader = subscribe()
    sink = open_sink(broker.url)
    sink.write(event(0, "ends"))
    sink.write(event(1, "ends"))
    sink.write(End("ends", 1.0, 4, {}))
    sink.write(event(0, "runs"))
    sink.close()
    got = reader.wait_for_payload("home/status", "offline")
    assert got[-1].topic == "home/status", "after those of the streams"
    states = latest(got)
    assert (states["home/ends/guitar/state"], states["home/ends/status"]) == ("OFF", "offline")
    assert states["home/runs/status"] == "offline"
    assert notices.texts == []


def test_no_event_is_lost_when_the_broker_restarts(
    mosquitto: tuple[Broker, Subscribe], open_sink: Open, notices: Notices
) -> None:
    broker, subscribe = mosquitto
    broker.start()
    reader = subscribe()
    sink = open_sink(broker.url)
    written = 0

    def write(count: int) -> None:
        nonlocal written
        for _ in range(count):
            sink.write(event(written))
            written += 1
            time.sleep(0.002)

    for _ in range(2):
        write(100)
        broker.stop()
        notices.wait_for("trying again")
        write(100)
        broker.start()
        notices.wait_for("connected")
        write(100)
        assert [text.rpartition(": ")[2] for text in notices.texts] == ["trying again", "connected"]
        notices.texts.clear()
    sink.close()
    got = reader.wait_for(lambda received: len(times(received)) == written)
    assert times(got) == list(range(600))
    assert latest(reader.wait_for_payload("home/status", "offline"))["home/mic/guitar/state"] == "OFF"


def test_a_broker_that_forgot_everything_gets_the_states_again(
    mosquitto: tuple[Broker, Subscribe], open_sink: Open, notices: Notices, tmp_path: Path
) -> None:
    broker, subscribe = mosquitto
    broker.start()
    open_sink(broker.url).write(event(0))
    subscribe("before").wait_for_payload("home/mic/guitar/state", "ON")
    broker.stop()
    (tmp_path / "mosquitto.db").unlink()
    broker.start()
    notices.wait_for("connected")
    got = latest(subscribe("after").wait_for(lambda received: len(received) >= 5))
    assert (got["home/status"], got["home/mic/status"], got["home/mic/guitar/state"]) == ("online", "online", "ON")


def test_a_broker_may_come_later(mosquitto: tuple[Broker, Subscribe], open_sink: Open, notices: Notices) -> None:
    broker, subscribe = mosquitto
    sink = open_sink(broker.url)
    for number in range(10):
        sink.write(event(number))
    assert notices.wait_for("refused") == ["no connection (connection refused): trying again"]
    broker.start()
    reader = subscribe()
    assert times(reader.wait_for(lambda received: len(times(received)) == 10)) == list(range(10))
    assert notices.wait_for("connected")[1:] == ["connected"]


def test_a_wrong_password_is_said_once_and_never_shown(
    mosquitto: tuple[Broker, Subscribe], open_sink: Open, notices: Notices, tmp_path: Path
) -> None:
    broker, _ = mosquitto
    passwords = tmp_path / "passwords"
    passwords.write_text("bob:right-one\n", "utf-8")
    passwords.chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True, capture_output=True, timeout=WAIT_S)
    closed = ("allow_anonymous false", f"password_file {passwords}")
    broker.start(*closed)
    url = broker.url.replace("//", "//bob@")
    sink = open_sink(url, "wrong-one")
    sink.write(event(0))
    (text,) = notices.wait_for("trying again")
    assert text == "the broker refuses user 'bob' (not authorized): trying again"
    broker.wait_for_log("not authorised", 3)
    assert len(notices.texts) == 1
    broker.stop()
    broker.start("allow_anonymous true")
    notices.wait_for("connected")

    sink.close()
    broker.stop()
    broker.start(*closed)
    good = open_sink(url, "right-one")
    good.write(event(1))
    good.close()
    assert good.published > 4
    open_sink(broker.url)
    assert "a connection without user and password" in notices.wait_for("without")[-1]
    assert "-one" not in " ".join(notices.texts)


# paho leaves the socket of a TLS handshake that failed to the garbage collector, which closes it
UNCLOSED = pytest.mark.filterwarnings(
    "ignore:unclosed <ssl.SSLSocket:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@UNCLOSED
def test_tls_with_an_authority_of_ones_own(
    mosquitto: tuple[Broker, Subscribe], open_sink: Open, notices: Notices, certificates: dict[str, Path]
) -> None:
    broker, _ = mosquitto
    cert, key = certificates["cert"], certificates["key"]
    broker.start("allow_anonymous true", f"certfile {cert}", f"keyfile {key}")
    url = broker.url.replace("mqtt:", "mqtts:")
    open_sink(url)
    assert "its certificate is not trusted" in notices.wait_for("trusted")[0]
    notices.texts.clear()
    open_sink(broker.url)  # without TLS
    notices.wait_for("trying again")
    notices.texts.clear()
    sink = open_sink(url, ca=cert)
    sink.write(event(0))
    sink.close()
    assert sink.published > 4
    assert notices.texts == []
    with pytest.raises(OutputError, match="no certificate in it"):
        open_sink(url, ca=key)


@UNCLOSED
def test_a_broker_without_tls_is_said_to_be_one(
    mosquitto: tuple[Broker, Subscribe], open_sink: Open, notices: Notices
) -> None:
    broker, _ = mosquitto
    broker.start()
    open_sink(broker.url.replace("mqtt:", "mqtts:"))
    notices.wait_for("is it an mqtt:// address?")
