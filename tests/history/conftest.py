"""A recorder with clocks that only the test moves, and messages of a small model."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamtag.history.recorder import Recorder
from streamtag.protocol.messages import Concept, End, Event, Frame, Hello, Message

HOP_S = 0.256
CONCEPTS = (Concept("guitar", "instrument", ("guitar",), 0.5), Concept("voice", "voice", ("singing",), 0.5))
HELLO = Hello("streamtag", "small", ("guitar", "singing"), 16000, HOP_S, 0.512, 0.384, (0.5, 0.5), CONCEPTS)
START_AT = 1_700_000_040.0  # the beginning of a minute


def frame(number: int, guitar: float = 0.0, voice: float = 0.0, stream: str = "radio") -> Frame:
    at, concepts = number * HOP_S, {"guitar": guitar, "voice": voice}
    return Frame(stream, number, at - HOP_S, at + HOP_S, {"guitar": guitar, "singing": voice}, concepts=concepts)


def switch(number: int, state: str, concept: str = "guitar", stream: str = "radio") -> Event:
    return Event(stream, concept, "on" if state == "on" else "off", number * HOP_S, concept)


class Recording:
    """What a test does with a recorder: `play` messages, one per hop of the clock, and read rows of the file."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.now = START_AT
        self.reports: list[str] = []
        self._settings = settings
        self.recorder = self.open()
        self.recorder.write(HELLO)

    def open(self) -> Recorder:
        settings: dict[str, Any] = {"clock": lambda: self.now, "timer": lambda: self.now, **self._settings}
        return Recorder(self.path, self.reports.append, **settings)

    def play(self, messages: list[Message]) -> None:
        """Frames move the clock to the end of their window, unless it is later."""
        for message in messages:
            if isinstance(message, Frame):
                self.now = max(self.now, START_AT + message.end)
            self.recorder.write(message)
            self.recorder.poll()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.recorder.poll()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    recording = Recording(tmp_path / "h.sqlite")
    yield recording
    recording.recorder.close()


def end(frames: int, stream: str = "radio") -> End:
    return End(stream, frames * HOP_S, frames, {"guitar": 0.1, "singing": 0.1})
