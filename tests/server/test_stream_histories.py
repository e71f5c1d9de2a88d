"""The past of every running stream: what is kept of it, and its bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

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


def _history_of(*frames: Frame) -> History:
    """Return the history that consists of these frames."""
    columns = {name: tuple(round(frame.tags[name], 4) for frame in frames) for name in NAMES}
    concepts = {"strings": tuple(round(frame.concepts["strings"], 4) for frame in frames)}
    return History("mic", tuple(HOP_S * frame.frame for frame in frames), columns, concepts)


class Past:
    """A hub, and what a subscriber that comes late gets of the past."""

    def __init__(self, *messages: Message, hello: Hello = SMALL, max_histories: int = 100) -> None:
        self.hub = Hub(hello, Metrics(), max_histories=max_histories)
        self.add(*messages)

    def add(self, *messages: Message) -> None:
        for message in messages:
            self.hub.publish(EncodedMessage(message))

    def offer(self, encoded: EncodedMessage) -> None:
        """As a listener of the hub."""

    def histories(self, stream: str | None = None, seconds: float = 300) -> list[History]:
        messages = [encoded.message for encoded in self.hub.subscribe(self, stream, seconds)]
        self.hub.unsubscribe(self, stream)
        return [message for message in messages if isinstance(message, History)]

    def of(self, stream: str = "mic", seconds: float = 300) -> History:
        (history,) = self.histories(stream, seconds)
        return history


def test_it_is_bounded_by_the_time_that_is_kept_and_by_the_time_that_is_asked_for() -> None:
    frames = [_frame(number) for number in range(1000)]
    past = Past(*frames)
    for seconds, count in ((300, 480), (10, 40), (1, 4), (0.1, 0)):
        assert past.of(seconds=seconds) == _history_of(*frames[999 - count : 999])


def test_it_has_the_events_and_gaps_of_its_time_and_what_is_present_from_any_time() -> None:
    early, late = Event("mic", "strings", "on", 1.0, "strings"), Event("mic", "strings", "off", 8.0, "strings")
    gaps = (Gap("mic", 2.0, 0.5), Gap("mic", 6.5, 2.0))
    past = Past(*map(_frame, range(10)), early, *gaps, *map(_frame, range(30, 41)))
    history = past.of(seconds=5)  # the latest frame is at 10 s
    assert (history.present, history.events, history.gaps) == (("strings",), (), gaps[1:])
    past.add(late)
    history = past.of(seconds=5)
    assert (history.present, history.events) == ((), (late,))
    assert (past.of().events, past.of().gaps) == ((early, late), gaps)


def test_it_is_forgotten_with_the_end_and_when_the_stream_begins_anew_without_one() -> None:
    on, frame = Event("mic", "strings", "on", 1.0, "strings"), _frame(0)
    past = Past(*map(_frame, range(50)), on, Gap("mic", 1.0, 1.0), frame)
    assert past.of() == _history_of()
    past.add(_frame(1))
    assert past.of() == _history_of(frame)
    past.add(End("mic", 1.0, 2, {}))
    assert past.histories() == []
    past.add(on)
    assert past.histories() == []


def test_streams_beyond_the_limit_have_none_until_another_ends() -> None:
    past = Past(*(_frame(number, stream) for number in range(3) for stream in "abc"), max_histories=2)
    assert [each.stream for each in past.histories()] == ["a", "b"]
    past.add(End("a", 1.0, 3, {}), _frame(3, "c"))
    assert [each.stream for each in past.histories()] == ["b", "c"]


def test_frames_of_a_damaged_or_filtered_recording_give_probabilities_too() -> None:
    strange = [
        Frame("mic", 0, 0.0, 0.5, {"harp": 1.5, "guitar": -3.0}),
        Frame("mic", 1, 0.25, 0.75, {"guitar": 1e300, "drums": 0.5}),
        Frame("mic", 2, 0.5, 1.0, {}),
        Frame("mic", 3, 0.75, 1.25, {}),
    ]
    history = Past(*strange, *(Event("mic", f"name {number}", "on", 0.5) for number in range(1000))).of()
    assert history.tags == {"guitar": (0.0, 1.0, 0.0), "harp": (1.0, 0.0, 0.0)}
    assert (history.concepts, history.present, history.events) == ({}, (), ())  # no frame has a concept
    assert parse(history.to_json()) == history
    without_hop = replace(SMALL, tags=(), concepts=(), thresholds=(), hop_s=-1.0)
    history = Past(*strange, Frame("mic", 4, 1.0, 1.5, {}), hello=without_hop).of()
    assert (len(history.times), history.tags) == (4, {})


def test_a_message_is_never_longer_than_a_reader_accepts_and_all_together_have_a_limit() -> None:
    tags = tuple(f"a tag with a long name {number}" for number in range(300))
    past = Past(hello=replace(SMALL, tags=tags, thresholds=(0.5,) * 300, concepts=()))
    values = dict.fromkeys(tags, 0.1234)
    for stream in "abcd":
        for number in range(450):
            time = 1000 + HOP_S * number
            past.add(Frame(stream, number, time, time + 0.5, values))
            past.add(Event(stream, tags[number % 300], "on", time), Gap(stream, time, 0.123))
    alone = past.of("a")
    assert len(alone.times) == MAX_VALUES // 300
    assert MAX_MESSAGE_CHARS / 2 < len(alone.to_json()) < MAX_MESSAGE_CHARS
    together = past.histories()
    assert sum(300 * len(history.times) for history in together) == MAX_GREETING_VALUES
    assert len({len(history.times) for history in together}) == 1  # each has the same share
    assert sum(len(history.to_json()) for history in together) < 2 * MAX_MESSAGE_CHARS
