"""Many streams' events and means on one board are those of a detector and a timeline for each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtag.errors import SpecError
from streamtag.inference.events import EventDetector, EventSpec, TagEvent
from streamtag.inference.frame import TagFrame
from streamtag.inference.timeline import Timeline
from streamtag.scheduler.event_bank import EventDetectorBank

TAGS = ("guitar", "harp", "slow", "loud")
THRESHOLDS = (0.5, 0.1, 0.9, 0.3)
HOP_S = 0.256


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    spec=st.builds(EventSpec, smoothing_s=st.sampled_from([0.0, 0.5]), hold_s=st.sampled_from([0.0, 1.0])),
    present=st.floats(0.2, 1.0),
)
def test_streams_that_come_and_go_have_what_each_would_have_alone(seed: int, spec: EventSpec, present: float) -> None:
    """Five streams with frames now and then; a row is given to another stream on the way, and one moves."""
    rng = np.random.default_rng(seed)
    board = EventDetectorBank(TAGS, THRESHOLDS, 6, spec)
    rows = [board.join() for _ in range(5)]
    alone = [EventDetector(TAGS, THRESHOLDS, spec) for _ in range(5)]
    lines = [Timeline("", TAGS) for _ in range(5)]
    for step in range(40):
        here = [n for n in range(5) if rng.random() < present]
        probs = rng.random((len(here), 4)).astype(np.float32)
        time = step * HOP_S
        events = board.feed(np.array([rows[n] for n in here], np.int64), probs, np.full(len(here), time))
        for n, row, turned in zip(here, probs, events, strict=True):
            frame = TagFrame(step, time - HOP_S, time + HOP_S, row)
            lines[n].add(frame)
            expected = alone[n].feed(frame)
            assert [(event.tag, event.state) for event in turned] == [(event.tag, event.state) for event in expected]
            assert all(event.time == pytest.approx(frame.time) for event in turned)
        if step == 20:
            assert board.close(rows[0], time) == alone[0].close(time)
            board.leave(rows[0])
            rows[0], lines[0] = board.join(), Timeline("", TAGS)
            state = board.state(rows[1])
            board.leave(rows[1])
            rows[1] = board.join(state)
    for n, row in enumerate(rows):
        assert board.frames(row) == len(lines[n])
        if len(lines[n]):
            assert board.summary(row) == pytest.approx(dict(zip(TAGS, lines[n].means.tolist(), strict=True)))
        assert board.close(row, 99.0) == alone[n].close(99.0)


def test_nothing_heard_has_no_summary() -> None:
    board = EventDetectorBank(TAGS, THRESHOLDS, 1)
    assert board.summary(board.join()) == {}


def test_events_are_events() -> None:
    board = EventDetectorBank(TAGS, THRESHOLDS, 1, EventSpec(smoothing_s=0))
    row = board.join()
    (events,) = board.feed(np.array([row]), np.array([[0.6, 0, 0, 0]], np.float32), np.array([1.5]))
    assert events == [TagEvent("guitar", "on", 1.5)]
    assert board.close(row, 2.0) == [TagEvent("guitar", "off", 2.0)]


def test_tags_without_thresholds_are_refused() -> None:
    with pytest.raises(SpecError):
        EventDetectorBank(TAGS, (0.5,), 3)
