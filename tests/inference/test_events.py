"""Tags turn on and off by hysteresis, alone and in a bank of many streams."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtag.errors import SpecError
from streamtag.inference.events import EventDetector, EventDetectorBank, EventSpec, TagEvent
from streamtag.inference.frame import TagFrame
from streamtag.inference.timeline import Timeline

HOP = 0.256
TAGS = ("guitar", "harp", "slow", "loud")
THRESHOLDS = (0.5, 0.1, 0.9, 0.3)
PLAIN = EventSpec(smoothing_s=0, release=0.7, hold_s=0)


def frame(index: int, *probs: float) -> TagFrame:
    return TagFrame(index, (index - 1) * HOP, (index + 1) * HOP, np.array(probs, np.float32))


def run(detector: EventDetector, *curves: list[float]) -> list[TagEvent]:
    """Feed one curve per tag."""
    return [e for i, probs in enumerate(zip(*curves, strict=True)) for e in detector.feed(frame(i, *probs))]


def test_on_above_the_threshold_and_off_below_the_release() -> None:
    detector = EventDetector(["guitar"], [0.5], PLAIN)
    events = run(detector, [0.4, 0.5, 0.51, 0.4, 0.36, 0.34, 0.36, 0.5, 0.6])
    assert [event.state for event in events] == ["on", "off", "on"]
    assert [event.time for event in events] == pytest.approx([2 * HOP, 5 * HOP, 8 * HOP])


def flicker(spec: EventSpec) -> int:
    curve = 0.45 + 0.08 * np.sin(np.arange(80) * 2.1)  # across the threshold, faster than any music
    return len(run(EventDetector(["guitar"], [0.5], spec), curve.tolist()))


@pytest.mark.parametrize("part", [{"smoothing_s": 0.5}, {"release": 0.7}, {"hold_s": 1.0}])
def test_each_part_of_the_hysteresis_reduces_flicker_and_all_prevent_it(part: dict[str, float]) -> None:
    none = {"smoothing_s": 0.0, "release": 1.0, "hold_s": 0.0}
    assert flicker(EventSpec(**none)) > 20
    assert flicker(EventSpec(**none | part)) < flicker(EventSpec(**none)) / 2
    assert flicker(EventSpec()) == 0


def test_a_lasting_change_comes_through_within_a_second() -> None:
    events = run(EventDetector(["guitar"], [0.5]), [0.1] * 10 + [0.9] * 20 + [0.1] * 20)
    assert [e.state for e in events] == ["on", "off"]
    assert 10 * HOP <= events[0].time <= 10 * HOP + 1
    assert 30 * HOP <= events[1].time <= 30 * HOP + 1.3


def test_smoothing_counts_seconds_not_frames() -> None:
    """After a gap of a minute the past has no weight left."""
    detector = EventDetector(["guitar"], [0.5], EventSpec(smoothing_s=2, hold_s=0))
    assert detector.feed(frame(0, 0.0)) == []
    assert detector.feed(frame(1, 1.0)) == []
    assert [e.state for e in detector.feed(frame(240, 1.0))] == ["on"]


def test_close_turns_tags_off_and_starts_a_new_stream() -> None:
    detector = EventDetector(["a", "b", "c"], [0.5] * 3, PLAIN)
    run(detector, [0.9], [0.1], [0.9])
    assert detector.close(7.5) == [("a", "off", 7.5), ("c", "off", 7.5)]
    assert detector.close(8.0) == []
    assert [e.tag for e in detector.feed(frame(0, 0.1, 0.9, 0.1))] == ["b"]


@given(
    curve=st.lists(st.floats(0, 1, width=32), max_size=60),
    spec=st.builds(
        EventSpec,
        smoothing_s=st.sampled_from([0.0, 0.5, 1.0]),
        release=st.floats(0.1, 1),
        hold_s=st.sampled_from([0.0, 1.0]),
    ),
    threshold=st.floats(0.01, 0.99),
)
def test_on_and_off_alternate_and_last_for_the_hold_time(curve: list[float], spec: EventSpec, threshold: float) -> None:
    detector = EventDetector(["guitar"], [threshold], spec)
    events = [*run(detector, curve)]
    assert [e.state for e in events] == ["on" if i % 2 == 0 else "off" for i in range(len(events))]
    assert all(b.time - a.time >= spec.hold_s for a, b in pairwise(events))
    end = len(curve) * HOP
    present_s = detector.present_s(end)
    closing = detector.close(end)
    assert len(closing) == len(events) % 2
    times = [event.time for event in [*events, *closing]]
    assert present_s == pytest.approx([sum(times[1::2]) - sum(times[::2])])


@pytest.mark.parametrize("thresholds", [[-0.1], [1.1], [float("inf")], [float("nan")], [], [0.5, 0.5]])
def test_impossible_thresholds_are_refused(thresholds: list[float]) -> None:
    with pytest.raises(SpecError, match="threshold"):
        EventDetector(["guitar"], thresholds)


def test_thresholds_of_0_and_1() -> None:
    """On with the first probability above 0, and never on."""
    events = run(EventDetector(["a", "b"], [0.0, 1.0], PLAIN), [0.0, 0.1, 0.0], [1.0, 1.0, 1.0])
    assert events == [("a", "on", HOP)]


def test_without_a_threshold_nothing_turns_on() -> None:
    assert run(EventDetector(["a", "b"], [None, 0.9], PLAIN), [1.0] * 9, [1.0] * 9) == [("b", "on", 0.0)]


@pytest.mark.parametrize(
    "values",
    [{"smoothing_s": -1}, {"release": 0}, {"release": 1.1}, {"hold_s": -1}, {"hold_s": float("nan")}],
)
def test_impossible_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(SpecError, match="EventSpec"):
        EventSpec(**values)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1000),
    spec=st.builds(EventSpec, smoothing_s=st.sampled_from([0.0, 0.5]), hold_s=st.sampled_from([0.0, 1.0])),
    present=st.floats(0.2, 1.0),
)
def test_each_row_of_a_bank_equals_a_detector_and_a_timeline_of_its_own(
    seed: int, spec: EventSpec, present: float
) -> None:
    """Five streams with frames now and then; one row is reused by another stream, and one stream changes its row."""
    rng = np.random.default_rng(seed)
    bank = EventDetectorBank(("a tag",), TAGS, THRESHOLDS, 6, spec)
    rows = [bank.add() for _ in range(5)]
    detectors = [EventDetector(TAGS, THRESHOLDS, spec) for _ in range(5)]
    timelines = [Timeline("", TAGS) for _ in range(5)]
    for step in range(40):
        here = [n for n in range(5) if rng.random() < present]
        probs = rng.random((len(here), 4)).astype(np.float32)
        time = step * HOP
        tag_probs = probs[:, :1] * np.float32(0.5)
        events = bank.feed(np.array([rows[n] for n in here], np.int64), tag_probs, probs, np.full(len(here), time))
        for n, row, changes in zip(here, probs, events, strict=True):
            frame = TagFrame(step, time - HOP, time + HOP, row)
            timelines[n].add(frame)
            expected = detectors[n].feed(frame)
            assert [(event.tag, event.state) for event in changes] == [(event.tag, event.state) for event in expected]
            assert all(event.time == pytest.approx(frame.time) for event in changes)
        if step == 20:
            assert bank.close(rows[0], time) == detectors[0].close(time)
            bank.remove(rows[0])
            rows[0], timelines[0] = bank.add(), Timeline("", TAGS)
            state = bank.export_state(rows[1])
            bank.remove(rows[1])
            rows[1] = bank.add(state)
    for n, row in enumerate(rows):
        assert bank.frames(row) == len(timelines[n])
        means = dict(zip(TAGS, timelines[n].means.tolist(), strict=True))
        tags, concepts = bank.summaries(row)
        assert concepts == pytest.approx(means if len(timelines[n]) else {})
        assert tags == pytest.approx({"a tag": means[TAGS[0]] / 2} if len(timelines[n]) else {})
        assert bank.present_s(row, 99.0) == pytest.approx(detectors[n].present_s(99.0))
        assert bank.close(row, 99.0) == detectors[n].close(99.0)
