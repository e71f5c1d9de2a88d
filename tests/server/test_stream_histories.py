"""The recent past of every running stream: what is kept of it, and its bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamtag.protocol.messages import Concept, End, Event, Frame, Gap, Hello, History, Message
from streamtag.protocol.queues import EncodedMessage
from streamtag.protocol.reader import MAX_MESSAGE_CHARS, parse
from streamtag.server.history import MAX_GREETING_VALUES, MAX_VALUES
from streamtag.server.hub import Hub
from streamtag.server.metrics import Metrics

HOP_S = 0.25  # survives the rounding of times
NAMES = ("guitar", "harp")
CONCEPTS = (Concept("strings", "instrument", ("guitar", "harp"), 0.5),)
SMALL = Hello("streamtag 0.1.0", "small", NAMES, 16000, HOP_S, 0.5, 0.375, (0.5, 0.5), CONCEPTS)
RANDOM = np.random.default_rng(3)


def _frame(number: int, stream: str = "mic") -> Frame:
    guitar, harp, strings = RANDOM.random(3).tolist()
    start = HOP_S * number - HOP_S
    return Frame(stream, number, start, start + 0.5, {"guitar": guitar, "harp": harp}, concepts={"strings": strings})


class Past:
    """A hub, and what a subscriber that comes late gets of the past."""

    def __init__(self, hello: Hello = SMALL, max_histories: int = 100) -> None:
        self.hub = Hub(hello, Metrics(), max_histories=max_histories)

    def add(self, message: Message) -> None:
        self.hub.publish(EncodedMessage(message))

    def offer(self, encoded: EncodedMessage) -> None:
        """As a listener of the hub."""

    def histories(self, stream: str | None = None, seconds: float = 300) -> list[History]:
        messages = [encoded.message for encoded in self.hub.subscribe(self, stream, seconds)]
        self.hub.unsubscribe(self, stream)
        return [message for message in messages if isinstance(message, History)]


def _kept(past: Past, seconds: float = 300, stream: str = "mic") -> History | None:
    return next(iter(past.histories(stream, seconds)), None)


def _expected(frames: list[Frame]) -> tuple[tuple[float, ...], dict[str, tuple[float, ...]], tuple[float, ...]]:
    """Return times, tags and the concept's values as a history holds them."""
    tags = {name: tuple(round(frame.tags[name], 4) for frame in frames) for name in NAMES}
    return (
        tuple(HOP_S * frame.frame for frame in frames),
        tags,
        tuple(round(frame.concepts["strings"], 4) for frame in frames),
    )


@pytest.mark.parametrize("count", [1, 2, 100])
def test_all_frames_but_the_latest_are_in_it_as_they_were_sent(count: int) -> None:
    histories, frames = Past(), [_frame(number) for number in range(count)]
    for frame in frames:
        histories.add(frame)
    history = _kept(histories)
    assert history is not None
    assert (history.times, history.tags, history.concepts["strings"]) == _expected(frames[:-1])
    assert parse(history.to_json()) == history


def test_it_is_bounded_by_the_time_that_is_kept_and_by_the_time_that_is_asked_for() -> None:
    histories, frames = Past(), [_frame(number) for number in range(1000)]
    for frame in frames:
        histories.add(frame)
    for seconds, count in ((300, 480), (10, 40), (1, 4), (0.1, 0)):
        history = _kept(histories, seconds)
        assert history is not None
        assert history.times == _expected(frames[999 - count : 999])[0]
        assert history.tags["harp"] == _expected(frames[999 - count : 999])[1]["harp"]


def test_it_has_the_events_and_gaps_of_its_time_and_what_is_present_from_any_time() -> None:
    histories = Past()
    early, late = Event("mic", "strings", "on", 1.0, "strings"), Event("mic", "strings", "off", 8.0, "strings")
    gaps = [Gap("mic", 2.0, 0.5), Gap("mic", 6.5, 2.0)]
    for message in (*map(_frame, range(10)), early, *gaps, *map(_frame, range(30, 41))):
        histories.add(message)
    history = _kept(histories, 5)  # the latest frame is at 10 s
    assert history is not None
    assert (history.present, history.events, history.gaps) == (("strings",), (), (gaps[1],))
    histories.add(late)
    history = _kept(histories, 5)
    assert history is not None
    assert (history.present, history.events) == ((), (late,))
    history = _kept(histories)
    assert history is not None
    assert (history.events, history.gaps) == ((early, late), tuple(gaps))


def test_it_is_forgotten_with_the_end_and_when_the_stream_begins_anew_without_one() -> None:
    histories = Past()
    on, frame = Event("mic", "strings", "on", 1.0, "strings"), _frame(0)
    for message in (*map(_frame, range(50)), on, Gap("mic", 1.0, 1.0), frame):
        histories.add(message)
    history = _kept(histories)
    assert history is not None
    assert (history.times, history.present, history.events, history.gaps) == ((), (), (), ())
    assert (history.tags, history.concepts) == ({"guitar": (), "harp": ()}, {"strings": ()})
    histories.add(_frame(1))
    history = _kept(histories)
    assert history is not None
    assert (history.times, history.tags, history.concepts["strings"]) == _expected([frame])
    histories.add(End("mic", 1.0, 2, {}))
    assert _kept(histories) is None
    histories.add(on)
    assert _kept(histories) is None


def test_streams_beyond_the_limit_have_none_until_another_ends() -> None:
    histories = Past(max_histories=2)
    for number in range(3):
        for stream in "abc":
            histories.add(_frame(number, stream))
    assert [each.stream for each in histories.histories()] == ["a", "b"]
    histories.add(End("a", 1.0, 3, {}))
    histories.add(_frame(3, "c"))
    assert [each.stream for each in histories.histories()] == ["b", "c"]


def test_frames_of_a_damaged_or_filtered_recording_give_probabilities_too() -> None:
    histories = Past()
    strange = [
        Frame("mic", 0, 0.0, 0.5, {"harp": 1.5, "guitar": -3.0}),
        Frame("mic", 1, 0.25, 0.75, {"guitar": 1e300, "drums": 0.5}),
        Frame("mic", 2, 0.5, 1.0, {}),
        Frame("mic", 3, 0.75, 1.25, {}),
    ]
    for message in (*strange, *(Event("mic", f"name {number}", "on", 0.5) for number in range(1000))):
        histories.add(message)
    history = _kept(histories)
    assert history is not None
    assert history.tags == {"guitar": (0.0, 1.0, 0.0), "harp": (1.0, 0.0, 0.0)}
    assert (history.concepts, history.present, history.events) == ({}, (), ())  # no frame has a concept
    assert parse(history.to_json()) == history
    without_hop = replace(SMALL, tags=(), concepts=(), thresholds=(), hop_s=-1.0)
    histories = Past(without_hop)
    for frame in (*strange, Frame("mic", 4, 1.0, 1.5, {})):
        histories.add(frame)
    history = _kept(histories)
    assert history is not None
    assert (len(history.times), history.tags) == (4, {})


def test_a_message_is_never_longer_than_a_reader_accepts_and_all_together_have_a_limit() -> None:
    tags = tuple(f"a tag with a long name {number}" for number in range(300))
    histories = Past(replace(SMALL, tags=tags, thresholds=(0.5,) * 300, concepts=()))
    for stream in ("a", "b", "c", "d", "e"):
        for number in range(640):
            values = dict.fromkeys(tags, 0.1234)
            histories.add(Frame(stream, number, 1000 + HOP_S * number, 1000.5 + HOP_S * number, values))
            histories.add(Event(stream, tags[number % 300], "on", 1000 + HOP_S * number))
            histories.add(Gap(stream, 1000 + HOP_S * number, 0.123))
    alone = _kept(histories, 300, "a")
    assert alone is not None
    assert len(alone.times) == MAX_VALUES // 300
    assert MAX_MESSAGE_CHARS / 2 < len(alone.to_json()) < MAX_MESSAGE_CHARS
    together = histories.histories()
    assert sum(300 * len(history.times) for history in together) == MAX_GREETING_VALUES
    assert len({len(history.times) for history in together}) == 1  # each has the same share
    assert sum(len(history.to_json()) for history in together) < 2 * MAX_MESSAGE_CHARS
