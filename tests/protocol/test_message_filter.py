"""What is left of messages for a reader who wants less."""

from __future__ import annotations

import pytest

from streamtag.errors import SpecError
from streamtag.protocol.message_filter import MessageFilter
from streamtag.protocol.messages import End, Error, Event, Frame, Gap

FRAME = Frame("mic", 3, 0.5, 1.0, {"guitar": 0.2, "slow": 0.05, "drums": 0.9}, latency_s=0.4)


def test_an_empty_filter_leaves_messages_unchanged() -> None:
    for message in (FRAME, Event("mic", "slow", "on", 1.0), Gap("mic", 1.0, 0.1), End("mic", 1.0, 4, FRAME.tags)):
        assert MessageFilter()(message) == message


def test_top_gives_the_strongest_first_and_keeps_the_rest_of_the_frame() -> None:
    thinned = MessageFilter(top=2)(FRAME)
    assert isinstance(thinned, Frame)
    assert list(thinned.tags) == ["drums", "guitar"]
    assert (thinned.frame, thinned.latency_s) == (3, 0.4)


def test_only_what_is_strong_enough_is_left() -> None:
    thinned = MessageFilter(min_probability=0.2)(FRAME)
    assert isinstance(thinned, Frame)
    assert list(thinned.tags) == ["guitar", "drums"]
    nothing = MessageFilter(min_probability=1.0)(FRAME)
    assert isinstance(nothing, Frame)  # a frame without tags still tells the time
    assert not nothing.tags


def test_names_hold_for_frames_summaries_and_events_but_gaps_concern_all() -> None:
    thin = MessageFilter(frozenset({"slow"}))
    frame, end = thin(FRAME), thin(End("mic", 1.0, 4, FRAME.tags))
    assert isinstance(frame, Frame)
    assert isinstance(end, End)
    assert list(frame.tags) == list(end.summary) == ["slow"]
    assert thin(Event("mic", "drums", "on", 1.0)) is None
    assert thin(Event("mic", "slow", "on", 1.0)) is not None
    assert thin(Gap("mic", 1.0, 0.1)) is not None
    assert thin(Error("unplugged")) is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"tags": frozenset()},
        {"top": 0},
        {"min_probability": 1.5},
        {"min_probability": -0.1},
        {"min_probability": float("nan")},
    ],
)
def test_filters_that_leave_nothing_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(SpecError):
        MessageFilter(**fields)  # type: ignore[arg-type]
