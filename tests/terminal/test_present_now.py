"""What is present at a moment."""

from __future__ import annotations

import numpy as np

from streamtag.protocol.messages import Concept, Event, Frame, History
from streamtag.protocol.selection import Selection
from streamtag.terminal.stream_view import PresentNow

TAGS = ("harp", "drums")
CONCEPTS = (Concept("strings", "instrument", ("harp",), 0.3), Concept("rare", "mood", ("drums",), None))


def feed(present: PresentNow, number: int, *probs: float) -> list[bool]:
    frame = Frame("mic", number, 0.25 * number - 0.25, 0.25 * number + 0.25, {})
    present.add_frame(frame, np.array(probs))
    return list(map(bool, present.on))


def test_concepts_follow_their_threshold_until_their_first_event() -> None:
    present = PresentNow(Selection.of(TAGS, (0.5, 0.5), CONCEPTS))
    assert feed(present, 0, 0.0, 0.0, 0.4, 1.0) == [False, False, True, False]  # never without a threshold
    assert feed(present, 1, 0.0, 0.0, 0.2, 1.0) == [False, False, False, False]
    present.add_event(Event("mic", "strings", "on", 0.3, concept="strings"))
    assert feed(present, 2, 0.0, 0.0, 0.2, 1.0) == [False, False, True, False]


def test_a_snapshot_says_what_is_on_and_what_is_not() -> None:
    present = PresentNow(Selection.of(TAGS, (0.5, 0.5), CONCEPTS))
    present.set_present(())
    assert feed(present, 0, 0.0, 0.0, 0.4, 1.0) == [False] * 4
    present.set_present(("strings",))
    assert feed(present, 1, 0.0, 0.0, 0.0, 1.0) == [False, False, True, False]


def test_chosen_tags_have_the_hysteresis_of_events() -> None:
    present = PresentNow(Selection.of(TAGS, (0.5, 0.5), CONCEPTS, names=["harp"]))
    assert feed(present, 0, 0.6, 0.6, 0.0, 0.0)[:2] == [True, True]
    assert feed(present, 1, 0.45, 0.0, 0.0, 0.0)[:2] == [True, True]  # each state lasts for a second
    for number in range(2, 12):
        feed(present, number, 0.45, 0.0, 0.0, 0.0)
    assert feed(present, 12, 0.45, 0.0, 0.0, 0.0)[:2] == [True, False]  # above the release, and below


def test_a_model_without_concepts_has_events_about_tags() -> None:
    present = PresentNow(Selection.of(TAGS, (0.5, 0.5)))
    assert feed(present, 0, 0.6, 0.6) == [True, True]
    present.add_event(Event("mic", "harp", "off", 0.3))
    assert feed(present, 1, 0.6, 0.6) == [False, True]
    present.set_present(("harp",))
    assert feed(present, 2, 0.0, 0.6) == [True, False]


def test_the_past_follows_the_events_back_from_what_is_on_now() -> None:
    present = PresentNow(Selection.of(TAGS, (0.5, 0.5), CONCEPTS))
    times = (1.0, 2.0, 3.0, 4.0, 5.0)
    probs = np.full((5, 4), 0.4)
    probs[3:, 0] = 0.6

    def strings(now: tuple[str, ...], *changes: tuple[str, float]) -> list[bool]:
        events = tuple(Event("mic", "strings", "on" if s == "on" else "off", t, concept="strings") for s, t in changes)
        past = present.past(History("mic", times, {}, {}, now, events), probs)
        assert past[:, 0].tolist() == [False, False, False, True, True]  # tags have thresholds only
        assert not past[:, 3].any()
        return [bool(on) for on in past[:, 2]]

    assert strings(("strings",), ("off", 2.0), ("on", 4.0)) == [True, False, False, True, True]
    assert strings((), ("on", 1.5), ("off", 4.5)) == [False, True, True, True, False]
    assert strings(()) == [False] * 5  # although 0.4 is above the threshold
    assert strings(("strings",)) == [True] * 5
