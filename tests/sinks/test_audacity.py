"""Audacity label tracks."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtag.protocol.messages import End, Event
from streamtag.protocol.selection import Selection
from streamtag.sinks.audacity import LabelTrack


def _written(path: Path, events: list[tuple[str, str, float]], selection: Selection, seconds: float = 10) -> str:
    track = LabelTrack({"song.mp3": path}, selection)
    for tag, state, time in events:
        track.write(Event("song.mp3", tag, state, time))  # type: ignore[arg-type]
    track.write(End("song.mp3", seconds, 40, {}))
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("events", "labels"),
    [
        ([], ""),
        ([("slow", "off", 9.0)], ""),
        ([("harp", "on", 8.0)], "8.000000\t10.000000\tharp\n"),  # on until the stream ends
        (
            [("drums", "on", 0.256), ("guitar", "on", 1.0), ("guitar", "off", 2.5), ("drums", "off", 3.0)],
            "0.256000\t3.000000\tdrums\n1.000000\t2.500000\tguitar\n",
        ),
    ],
)
def test_labels_are_sorted_by_their_start(
    tmp_path: Path, selection: Selection, events: list[tuple[str, str, float]], labels: str
) -> None:
    assert _written(tmp_path / "a.txt", events, selection) == labels


def test_other_tags_are_left_out(tmp_path: Path, selection: Selection) -> None:
    only = Selection.of(selection.tags, selection.thresholds, names=["piano"])
    assert _written(tmp_path / "a.txt", [("harp", "on", 8.0), ("slow", "off", 9.0)], only) == ""


@pytest.mark.parametrize("events", [[("harp", "on", -0.1), ("harp", "off", 0.1)], [("harp", "on", 11.0)]])
def test_labels_lie_within_the_stream(
    tmp_path: Path, selection: Selection, events: list[tuple[str, str, float]]
) -> None:
    start, end, _ = _written(tmp_path / "a.txt", events, selection).split("\t")
    assert 0 <= float(start) <= float(end)


def test_streams_do_not_mix(tmp_path: Path, selection: Selection) -> None:
    paths = {"a": tmp_path / "a.txt", "b": tmp_path / "b.txt"}
    track = LabelTrack(paths, selection)
    for name, tag in (("a", "harp"), ("b", "piano")):
        track.write(Event(name, tag, "on", 0.0))
        track.write(End(name, 2.0, 8, {}))
    assert [path.read_text(encoding="utf-8").split("\t")[2] for path in paths.values()] == [
        "harp\n",
        "piano\n",
    ]
