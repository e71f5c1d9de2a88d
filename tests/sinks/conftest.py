"""MQTT sinks that are closed with the test, and what they report."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from streamtag.audio.source import SourceNotice
from streamtag.protocol.messages import Concept, Event
from streamtag.protocol.selection import Selection
from streamtag.sinks.mqtt import MqttSink
from streamtag.sinks.mqtt_address import MqttAddress
from tests.sinks.mosquitto import WAIT_S

SELECTION = Selection.of(
    ("guitar", "slow"),
    (0.5, 0.5),
    [Concept("guitar", "instrument", ("guitar",), 0.5), Concept("slow", "mood", ("slow",), 0.5)],
)


class Notices:
    """What the sink reports, in order."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, notice: SourceNotice) -> None:
        with self._changed:
            self.texts.append(notice.text.partition(": ")[2])
            self._changed.notify_all()

    def wait_for(self, text: str) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: text in " ".join(self.texts), WAIT_S), self.texts
            return list(self.texts)


Open = Callable[..., MqttSink]


@pytest.fixture
def notices() -> Notices:
    return Notices()


@pytest.fixture
def open_sink(notices: Notices) -> Iterator[Open]:
    """open_sink(url, **settings) -> a sink, closed with the test."""
    with ExitStack() as resources:

        def open_sink(url: str, password: str | None = None, **settings: object) -> MqttSink:
            quick = {"first_delay_s": 0.05, "stable_connection_s": 0.0, "answer_timeout_s": 2.0, **settings}
            return resources.enter_context(
                MqttSink(MqttAddress.parse(url, password), SELECTION, notices, **quick)  # type: ignore[arg-type]
            )

        yield open_sink


def event(number: int, stream: str = "mic") -> Event:
    return Event(stream, "guitar", "off" if number % 2 else "on", float(number), "guitar")
