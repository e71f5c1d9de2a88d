"""Which tags are shown or sent, how many, and from which probability on they count."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest

from streamtag.errors import SpecError
from streamtag.protocol.messages import Concept, End, Error, Event, Frame, Gap, History
from streamtag.protocol.selection import MessageFilter, Selection

TAGS = ("guitar", "slow", "drums", "male vocal")
THRESHOLDS = (0.4, 0.5, 0.3, 0.2)
PROBS = np.array([0.2, 0.1, 0.9, 0.6])
FRAME = Frame("mic", 3, 0.5, 1.0, dict(zip(TAGS, PROBS.tolist(), strict=True)), latency_s=0.4)


def _filtered(message_filter: MessageFilter) -> dict[str, float]:
    """Return what a filter leaves of FRAME's tags."""
    frame = message_filter(FRAME)
    assert isinstance(frame, Frame)
    assert (frame.frame, frame.latency_s) == (3, 0.4)
    return dict(frame.tags)


def test_an_empty_filter_leaves_messages_unchanged() -> None:
    for message in (FRAME, Event("mic", "slow", "on", 1.0), Gap("mic", 1.0, 0.1), End("mic", 1.0, 4, FRAME.tags)):
        assert MessageFilter()(message) == message
    assert Selection.of(TAGS, THRESHOLDS).message_filter == MessageFilter()


def test_a_filter_keeps_the_strongest_tags_first_and_drops_weak_ones() -> None:
    assert list(_filtered(MessageFilter(top=2)).items()) == [("drums", 0.9), ("male vocal", 0.6)]
    assert list(_filtered(MessageFilter(min_probability=0.2))) == ["guitar", "drums", "male vocal"]
    assert _filtered(MessageFilter(min_probability=1.0)) == {}  # a frame without tags still carries the time


def test_a_filter_of_names_applies_to_frames_summaries_and_events_only() -> None:
    slow = MessageFilter(frozenset({"slow"}))
    assert slow(End("mic", 1.0, 4, FRAME.tags)) == End("mic", 1.0, 4, {"slow": 0.1})
    assert _filtered(slow) == {"slow": 0.1}
    assert slow(Event("mic", "drums", "on", 1.0)) is None
    for message in (Event("mic", "slow", "on", 1.0), Gap("mic", 1.0, 0.1), Error("unplugged")):
        assert slow(message) == message


def test_a_filter_of_names_applies_to_a_history_and_top_and_min_do_not() -> None:
    events = tuple(Event("mic", name, "on", 1.0, concept=name) for name in ("strings", "drums"))
    history = History(
        "mic", (0.5,), {"guitar": (0.1,), "drums": (0.9,)}, {"strings": (0.2,), "drums": (0.8,)}, ("drums",), events
    )
    assert MessageFilter(top=1, min_probability=0.5)(history) == history
    chosen = MessageFilter(frozenset({"guitar"}), concepts=frozenset({"strings"}))(history)
    assert chosen == History("mic", (0.5,), {"guitar": (0.1,)}, {"strings": (0.2,)}, (), events[:1])
    of_tags = replace(history, concepts={}, events=(Event("mic", "drums", "on", 1.0),))  # of a model without concepts
    assert MessageFilter(frozenset({"guitar"}))(of_tags) == History("mic", (0.5,), {"guitar": (0.1,)}, {})
    assert MessageFilter(frozenset({"drums"}))(of_tags) == replace(of_tags, tags={"drums": (0.9,)})


@pytest.mark.parametrize(
    "fields",
    [{"top": 0}, *({"min_probability": value} for value in (1.5, -0.1, float("nan")))],
)
def test_a_filter_that_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(SpecError):
        MessageFilter(**fields)  # type: ignore[arg-type]


def test_tags_are_found_in_any_case_and_kept_in_the_model_s_order() -> None:
    selection = Selection.of(TAGS, THRESHOLDS, names=[" Male Vocal", "GUITAR", "guitar", ""])
    assert selection.names == ("guitar", "male vocal")
    assert _filtered(selection.message_filter) == {"guitar": 0.2, "male vocal": 0.6}
    only_one = Selection.of(TAGS, THRESHOLDS, names=["slow", "guitar"], top=1)
    assert _filtered(only_one.message_filter) == {"guitar": 0.2}


GROUPS = (
    Concept("strings", "instrument", ("guitar",), 0.3),
    Concept("calm", "mood", ("slow", "guitar"), None),
    Concept("drums", "instrument", ("drums",), 0.6),
)
BOTH = replace(FRAME, concepts={"strings": 0.3, "calm": 0.2, "drums": 0.8})
END = End("mic", 1.0, 4, BOTH.tags, BOTH.concepts)
ALL = (list(TAGS), ["strings", "calm", "drums"])


@pytest.mark.parametrize(
    ("chosen", "tags", "concepts"),
    [
        ({}, *ALL),
        ({"names": ["all"]}, *ALL),
        ({"concept_names": ["ALL"]}, *ALL),
        ({"names": ["guitar"]}, ["guitar"], ["strings", "calm"]),
        ({"names": ["male vocal"]}, ["male vocal"], []),
        ({"concept_names": ["Calm"]}, ["guitar", "slow"], ["calm"]),
        ({"names": ["drums"], "concept_names": ["strings"]}, ["drums"], ["strings"]),
        ({"names": ["all"], "concept_names": ["strings"]}, list(TAGS), ["strings"]),
        ({"top": 1}, ["drums"], ["drums"]),
        ({"top": 1, "concept_names": ["calm", "strings"]}, ["guitar"], ["strings"]),
    ],
)
def test_tags_and_concepts_limit_each_other_unless_both_are_named(
    chosen: dict[str, Any], tags: list[str], concepts: list[str]
) -> None:
    message_filter = Selection.of(TAGS, THRESHOLDS, GROUPS, **chosen).message_filter
    frame, end = message_filter(BOTH), message_filter(END)
    assert isinstance(frame, Frame)
    assert isinstance(end, End)
    assert (list(frame.tags), list(frame.concepts)) == (tags, concepts)
    assert (list(end.summary), list(end.concepts)) == (tags, concepts)
    if "top" not in chosen:  # which does not apply to events
        events = (Event("mic", group.name, "on", 1.0, group.name) for group in GROUPS)
        assert [event.tag for event in events if message_filter(event) is not None] == concepts


def test_concepts_are_shown_unless_tags_are_chosen() -> None:
    selection = Selection.of(TAGS, THRESHOLDS, GROUPS)
    assert (selection.kind, selection.names) == ("concept", ("strings", "calm", "drums"))
    assert selection.thresholds == (*THRESHOLDS, 0.3, inf, 0.6)
    assert [selection.labels[column] for column in selection.strongest(selection.probs(BOTH))] == [
        "drums",
        "strings",
        "calm",
    ]
    chosen = Selection.of(TAGS, THRESHOLDS, GROUPS, names=["slow", "drums"])
    assert (chosen.kind, chosen.names, chosen.sent_tags) == ("tag", ("slow", "drums"), ("slow", "drums"))
    assert [chosen.labels[column] for column in chosen.strongest(chosen.probs(BOTH))] == ["drums", "slow"]
    older = Selection.of(TAGS, THRESHOLDS)
    assert (older.kind, older.names, older.thresholds) == ("tag", TAGS, THRESHOLDS)
    assert older.message_filter(Event("mic", "drums", "on", 1.0)) is not None


def test_a_threshold_of_the_user_gives_no_evidence() -> None:
    selection = Selection.of(TAGS, THRESHOLDS, GROUPS, threshold=0.7)
    assert selection.concept_thresholds == (0.7, None, 0.7)
    assert selection.tag_thresholds == (0.7,) * 4


def test_of_equal_tags_the_model_s_first_are_the_strongest_and_the_user_s_number_replaces_the_default() -> None:
    assert Selection.of(TAGS, THRESHOLDS).strongest(np.full(4, 0.5)) == [0, 1, 2, 3]
    assert len(Selection.of(TAGS, THRESHOLDS).strongest(PROBS, 2)) == 2
    assert len(Selection.of(TAGS, THRESHOLDS, top=3).strongest(PROBS, 2)) == 3


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({"names": ["guitarr"]}, r"^guitarr: not a tag of this model \(did you mean 'guitar'\?\)"),
        ({"names": ["xyzzy"]}, r"^xyzzy: not a tag of this model; "),
        ({"concept_names": ["string"]}, r"^string: not a concept of this model \(did you mean 'strings'\?\)"),
        ({"concepts": (), "concept_names": ["all"]}, "not a concept of this model"),
        ({"names": [" "]}, "no tags chosen"),
        ({"top": 0}, "top"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"thresholds": THRESHOLDS[:3]}, "4 tags"),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_the_nearest_name(chosen: dict[str, Any], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        Selection.of(**{"tags": TAGS, "thresholds": THRESHOLDS, "concepts": GROUPS, **chosen})
