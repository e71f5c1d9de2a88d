"""Segments as chapters, labels and WebVTT, each named after what is present in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streamtag.inference.frame import TagFrame
from streamtag.inference.timeline import Timeline
from streamtag.protocol.messages import Concept
from streamtag.protocol.selection import Selection
from streamtag.sinks.labels import segment_file

HOP_S = 0.256
CONCEPTS = (
    Concept("guitar & <b>", "instrument", ("a",), 0.5),
    Concept("techno", "genre", ("b",), 0.5),
    Concept("drums", "instrument", ("c",), 0.5),
    Concept("rare", "mood", ("d",), None),
)
TAGS = ("a", "b", "c", "d")


def written(name: str, start_s: float = 0.0) -> str:
    """Return the file for 40 s of guitar, then 60 s of techno with drums, then 20 s of nothing."""
    selection = Selection.of(TAGS, (0.5,) * 4, CONCEPTS)
    timeline = Timeline("song.mp3", selection.labels, start_s=start_s)
    for number in range(469):
        time = number * HOP_S
        levels = [0.9, 0.05, 0.05] if time < 40 else [0.02, 0.8, 0.9] if time < 100 else [0.1, 0.02, 0.1]
        probs = np.array([*levels, 0.9], np.float32)
        timeline.add(TagFrame(number, start_s + time - 0.256, start_s + time + 0.256, probs, None, probs))
    timeline.seconds = 120.0
    return segment_file(timeline, selection, Path(name)).decode()


def test_chapters() -> None:
    data = json.loads(written("a.json"))
    assert data["version"] == "1.2.0"
    chapters = data["chapters"]
    assert [chapter["title"] for chapter in chapters] == ["guitar & <b>", "drums; techno", "nothing certain"]
    assert [chapter["startTime"] for chapter in chapters] == pytest.approx([0, 40, 100], abs=1.1)
    assert [chapter["endTime"] for chapter in chapters] == [*(each["startTime"] for each in chapters[1:]), 120]


def test_labels_of_an_excerpt_have_the_times_of_the_file() -> None:
    lines = [line.split("\t") for line in written("a.TXT", start_s=3600).splitlines()]
    assert [name for _, _, name in lines] == ["guitar & <b>", "drums; techno", "nothing certain"]
    assert [float(start) for start, _, _ in lines] == pytest.approx([3600, 3640, 3700], abs=1.1)
    assert float(lines[-1][1]) == 3720


def test_webvtt() -> None:
    head, *cues = written("a.vtt", start_s=3600).split("\n\n")
    assert head == "WEBVTT"
    assert cues[0].splitlines()[1] == "guitar &amp; &lt;b&gt;"
    assert cues[0].startswith("01:00:00.000 --> 01:00:39.")
    assert cues[2].splitlines()[0].endswith(" --> 01:02:00.000")
