"""Audacity label tracks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.inference.frame import TagFrame
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import Concept, End
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import StreamFiles
from streamtag.sinks.labels import label_track
from tests.conftest import MakeTimeline

HOP_S = 0.256


def _written(path: Path, timeline: Timeline, selection: Selection) -> list[tuple[float, float, str]]:
    written: list[Path] = []
    track = StreamFiles({timeline.name: path}, selection, label_track, written.append)
    track.begin(StreamInfo(timeline.name), timeline)
    assert not written
    track.write(End(timeline.name, timeline.seconds, len(timeline), {}))
    assert written == [path]
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [(float(start), float(end), name) for start, end, name in lines]


def test_labels_are_sorted_by_their_start_and_end_with_the_stream(
    tmp_path: Path, make_timeline: MakeTimeline, selection: Selection, probs: NDArray[np.float64]
) -> None:
    labels = _written(tmp_path / "a.txt", make_timeline(probs, seconds=10.1), selection)
    assert [name for _, _, name in labels] == ["drums", "harp", "guitar"]
    (drums_from, drums_to, _), (harp_from, harp_to, _), (guitar_from, guitar_to, _) = labels
    assert drums_from == harp_from == 0
    assert 20 * HOP_S <= drums_to <= 20 * HOP_S + 1  # it ends half way, and is smoothed
    assert harp_to == guitar_to == 10.1
    assert guitar_from == pytest.approx(HOP_S * np.argmax(probs[:, 0] > 0.5), abs=0.8)


def test_labels_lie_within_the_stream(tmp_path: Path, make_timeline: MakeTimeline, selection: Selection) -> None:
    """The last frame's centre may lie behind the end of what was heard."""
    timeline = make_timeline(np.ones((2, 6)), seconds=0.1)
    assert {(start, end) for start, end, _ in _written(tmp_path / "a.txt", timeline, selection)} == {(0.0, 0.1)}


def test_labels_are_those_of_concepts_or_of_the_chosen_tags(tmp_path: Path) -> None:
    concepts = (Concept("both", "mood", ("a", "b"), 0.8), Concept("never", "mood", ("b",), None))
    timeline = Timeline("song.mp3", ("a", "b", "both", "never"))
    for number in range(40):
        tags, groups = np.array([0.6, 0.1], np.float32), np.array([0.9 * (number > 20), 1.0], np.float32)
        time = number * HOP_S
        timeline.add(TagFrame(number, time - HOP_S, time + HOP_S, tags, concept_probs=groups))
    timeline.seconds = 40 * HOP_S
    shown = Selection.of(("a", "b"), (0.5, 0.5), concepts)
    ((start, _, name),) = _written(tmp_path / "a.txt", timeline, shown)
    assert name == "both"
    assert 21 * HOP_S <= start <= 27 * HOP_S
    shown = Selection.of(("a", "b"), (0.5, 0.5), concepts, names=["all"])
    assert _written(tmp_path / "a.txt", timeline, shown) == [(0.0, 40 * HOP_S, "a")]
