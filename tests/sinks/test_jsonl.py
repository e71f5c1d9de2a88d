"""The messages of a stream, a line each, at once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtag.protocol.messages import End, Event, Frame
from streamtag.protocol.selection import Selection
from streamtag.sinks.jsonl import JsonLines


class Unflushed(io.StringIO):
    """Counts what is written and not flushed."""

    pending = 0

    def write(self, text: str) -> int:
        self.pending += len(text)
        return super().write(text)

    def flush(self) -> None:
        self.pending = 0
        super().flush()


def _parsed(file: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_each_message_is_a_line_that_is_flushed(
    make_messages: Callable[..., list[Frame]],
    selection: Selection,
    probs: NDArray[np.float64],
) -> None:
    file = Unflushed()
    lines = JsonLines(file, selection)
    for frame in make_messages(probs[:2]):
        lines.write(frame)
        assert file.pending == 0  # the reader of a pipe has it
    lines.write(Event("song.mp3", "guitar", "on", 0.256))
    lines.write(End("song.mp3", 0.4, 2, {"guitar": 0.21, "harp": 0.12}))
    first, _, event, end = _parsed(file)
    assert first["start"] == -0.256
    assert first["tags"] == {
        "guitar": 0.2,
        "slow": 0.05,
        "drums": 0.9,
        "male vocal": 0.05,
        "piano": 0.05,
        "harp": 0.12,
    }
    assert event == {"type": "event", "stream": "song.mp3", "tag": "guitar", "state": "on", "time": 0.256}
    assert (end["frames"], end["seconds"]) == (2, 0.4)
    assert end["summary"] == {"guitar": 0.21, "harp": 0.12}


def test_top_and_tags_filter_frames_summaries_and_events(
    make_messages: Callable[..., list[Frame]],
    probs: NDArray[np.float64],
) -> None:
    tags = ("guitar", "slow", "drums", "male vocal", "piano", "harp")
    file = io.StringIO()
    lines = JsonLines(file, Selection.of(tags, (0.5,) * 6, names=["guitar", "drums", "harp"], top=2))
    lines.write(make_messages(probs)[-1])
    lines.write(Event("song.mp3", "slow", "on", 1.0))
    lines.write(Event("song.mp3", "harp", "on", 1.0))
    lines.write(End("song.mp3", 10.0, 40, {"harp": 0.1, "guitar": 0.5, "slow": 0.9, "drums": 0.4}))
    frame, event, end = _parsed(file)
    assert list(frame["tags"]) == ["guitar", "harp"]
    assert event["tag"] == "harp"
    assert list(end["summary"]) == ["guitar", "drums"]
