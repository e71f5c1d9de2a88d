"""What is present in a stream: by how long the event detector had it on."""

from __future__ import annotations

import numpy as np
import pytest

from streamtag.inference.frame import TagFrame
from streamtag.inference.presence import (
    MIN_SHARE,
    Verdict,
    end_verdict,
    format_verdict,
    group_names,
    on_over_time,
    present_columns,
    present_seconds,
    selected_present,
)
from streamtag.inference.timeline import Timeline
from streamtag.protocol.messages import Concept, End
from streamtag.protocol.selection import Selection

NAMES = ("rock", "guitar", "drums", "vocals", "no vocals", "slow")
CATEGORIES = ("genre", "instrument", "instrument", "voice", "voice", "mood")
MEANS = np.array([0.3, 0.4, 0.5, 0.2, 0.3, 0.1])
LONG = 40.0
TAGS = ("guitar", "vocal", "singing", "no vocals")
CONCEPTS = (
    Concept("guitar", "instrument", ("guitar",), 0.5),
    Concept("vocals", "voice", ("vocal", "singing"), 0.5),
    Concept("no vocals", "voice", ("no vocals",), 0.5),
)


def present(*seconds: float) -> list[str]:
    columns = present_columns(NAMES, CATEGORIES, np.array(seconds), MEANS, LONG)
    return [NAMES[column] for column in columns]


def test_what_was_on_for_the_share_is_present_by_category_and_strongest_first() -> None:
    enough = MIN_SHARE * LONG
    assert present(enough, enough, enough, 0, 0, enough) == ["drums", "guitar", "rock", "slow"]
    less = enough - 0.01
    assert present(less, enough, less, less, less, less) == ["guitar"]


def test_a_denial_yields_to_anything_else_of_its_category() -> None:
    assert present(0, LONG, 0, 0, LONG, LONG) == ["guitar", "no vocals", "slow"]
    assert present(0, LONG, 0, 11, LONG, LONG) == ["guitar", "vocals", "slow"]


def test_a_stream_without_length_contains_nothing() -> None:
    assert present_columns(NAMES, CATEGORIES, np.zeros(6), MEANS, 0.0) == []


def test_names_are_grouped_once() -> None:
    columns = [1, 2, 0, 1]
    assert group_names(columns, NAMES, CATEGORIES) == {"instrument": ("guitar", "drums"), "genre": ("rock",)}


def timeline(*rows: tuple[float, ...]) -> Timeline:
    """A frame per row [tags], four a second; every concept on for 9 s of 10."""
    result = Timeline("mic", (*TAGS, *(concept.name for concept in CONCEPTS)))
    for number, row in enumerate(rows):
        time = number / 4
        result.add(TagFrame(number, time - 0.25, time + 0.25, np.array([*row, 0.1, 0.2, 0.3], np.float32)))
    result.seconds = len(rows) / 4
    result.present_s[len(TAGS) :] = 0.9 * result.seconds
    return result


def timeline_verdict(stream: Timeline, selection: Selection) -> Verdict:
    columns = selected_present(stream, selection, present_seconds(stream, selection))
    return group_names(columns, selection.labels, selection.categories)


def test_concepts_are_present_by_their_events_and_tags_by_their_own_probabilities() -> None:
    stream = timeline(*[(0.9, 0.1, 0.1, 0.9)] * 20, *[(0.1, 0.1, 0.1, 0.9)] * 20)
    concepts = Selection.of(TAGS, (0.5,) * 4, CONCEPTS)
    assert timeline_verdict(stream, concepts) == {"instrument": ("guitar",), "voice": ("vocals",)}
    tags = Selection.of(TAGS, (0.5,) * 4, CONCEPTS, names=["all"])
    assert timeline_verdict(stream, tags) == {"instrument": ("guitar",)}  # `vocals`, a concept, is present
    stream.present_s[:] = 0
    assert timeline_verdict(stream, tags) == {"instrument": ("guitar",), "voice": ("no vocals",)}
    few = Selection.of(TAGS, (0.5,) * 4, CONCEPTS, names=["singing", "no vocals"])
    assert timeline_verdict(stream, few) == {"voice": ("no vocals",)}


def test_the_last_message_of_a_stream_gives_the_same_verdict() -> None:
    selection = Selection.of(TAGS, (0.5,) * 4, CONCEPTS)
    end = End("mic", 10.0, 40, {}, {"vocals": 0.3, "guitar": 0.1}, {"vocals": 3.0, "guitar": 9.0, "no vocals": 9.0})
    assert end_verdict(end, selection) == {"instrument": ("guitar",), "voice": ("vocals",)}
    assert end_verdict(End("mic", 10.0, 40, {}), selection) == {}


def test_a_verdict_is_one_line() -> None:
    assert format_verdict({"instrument": ("guitar", "drums"), "voice": ("vocals",)}) == "guitar, drums; vocals"
    assert format_verdict({}) == "nothing certain"


def test_what_was_on_at_each_row_lasts_as_long_as_the_seconds_say() -> None:
    stream = timeline(*[(0.9, 0.1, 0.1, 0.1)] * 20, *[(0.1, 0.9, 0.1, 0.1)] * 20)
    tags = Selection.of(TAGS, (0.5,) * 4, CONCEPTS, names=["all"])
    on = on_over_time(stream, tags, [1, 0, 3])
    assert on.shape == (40, 3)
    assert 0.25 * on.sum(axis=0) == pytest.approx(present_seconds(stream, tags)[[1, 0, 3]])
    assert on[:20, 1].all()
    assert on[30:, 0].all()
    assert not on[:20, 0].any()
    assert not on[:, 2].any()
