"""What waits for a slow reader is bounded and in order, and every dropped frame is reported."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Message
from streamtag.protocol.queues import DropOldestQueue, EncodedMessage
from streamtag.protocol.selection import MessageFilter


def _frame(number: int, dropped: int = 0, stream: str = "mic") -> EncodedMessage:
    return EncodedMessage(Frame(stream, number, 0.0, 0.5, {"guitar": 0.9, "slow": 0.1}, dropped=dropped))


def _event(time: float) -> EncodedMessage:
    return EncodedMessage(Event("mic", "guitar", "on", time))


def _pop_all(queue: DropOldestQueue) -> list[Message]:
    messages = []
    while (encoded := queue.pop()) is not None:
        messages.append(encoded.message)
    return messages


def test_messages_come_out_in_the_order_in_which_they_were_put() -> None:
    queue = DropOldestQueue(2)
    messages = [_frame(0), _event(0.5), _frame(1), _event(0.7)]
    assert all(queue.put(message) for message in messages)
    assert [queue.pop() for _ in range(5)] == [*messages, None]  # the very same objects: their JSON is shared


def test_a_full_queue_drops_the_oldest_frame_and_the_next_one_reports_it() -> None:
    queue = DropOldestQueue(2)
    assert queue.put(_frame(0, dropped=2))  # it has dropped frames to report itself
    assert queue.put(_event(0.1))
    assert queue.put(_frame(1))
    assert not queue.put(_frame(2))
    assert not queue.put(_frame(3))
    event, *frames = _pop_all(queue)
    assert event == Event("mic", "guitar", "on", 0.1)
    assert [(frame.frame, frame.dropped) for frame in frames if isinstance(frame, Frame)] == [(2, 4), (3, 0)]


def test_a_flood_of_events_displaces_no_frame_and_leaves_the_newest_events() -> None:
    queue = DropOldestQueue(3)
    for number in range(3):
        queue.put(_frame(number))
    for number in range(10):
        queue.put(_event(number))
    messages = _pop_all(queue)
    assert [message.frame for message in messages if isinstance(message, Frame)] == [0, 1, 2]
    assert [message.time for message in messages if isinstance(message, Event)] == [7, 8, 9]


@pytest.mark.parametrize("kind", ["frame", "event"])
def test_an_overflow_takes_the_same_time_however_long_the_queue_is(kind: str) -> None:
    looked_at = 0

    class Counted(EncodedMessage):
        """Counts how often a message is looked at."""

        @property
        def message(self) -> Message:
            nonlocal looked_at
            looked_at += 1
            return wrapped

        @message.setter
        def message(self, message: Message) -> None:
            pass

    wrapped = (_event(0.0) if kind == "frame" else _frame(0)).message
    queue = DropOldestQueue(1000)
    for _ in range(1000):  # all of the other kind: they stand before those that overflow
        queue.put(Counted(wrapped))
    looked_at = 0
    wrapped = (_frame(0) if kind == "frame" else _event(0.0)).message
    for _ in range(2000):
        queue.put(Counted(wrapped))
    assert looked_at <= 2 * 2000


def test_dropped_frames_of_an_ended_stream_are_not_reported_by_its_successor() -> None:
    queue = DropOldestQueue(1)
    queue.put(_frame(0))
    queue.put(_frame(1))
    queue.put(EncodedMessage(End("mic", 1.0, 2, {})))
    queue.put(_frame(0, stream="other"))
    assert [message.type for message in _pop_all(queue)] == ["end", "frame"]
    queue.put(_frame(0))
    (frame,) = _pop_all(queue)
    assert isinstance(frame, Frame)
    assert frame.dropped == 0


@given(st.integers(1, 8), st.lists(st.sampled_from(["frame", "event", "pop"]), max_size=80))
def test_frames_and_reports_of_dropped_ones_add_up_whatever_is_put_and_popped(length: int, actions: list[str]) -> None:
    queue, put, events, overflows = DropOldestQueue(length), 0, 0, 0
    got: list[Message] = []
    for number, action in enumerate(actions):
        if action == "pop":
            if (encoded := queue.pop()) is not None:
                got.append(encoded.message)
            continue
        put += action == "frame"
        events += action == "event"
        overflows += not queue.put(_frame(put - 1) if action == "frame" else _event(number))
        assert len(queue) <= 2 * length
    got += _pop_all(queue)
    queue.put(_frame(put))
    got += _pop_all(queue)
    frames = [message for message in got if isinstance(message, Frame)]
    times = [message.time for message in got if isinstance(message, Event)]
    assert times == sorted(times)
    expected = -1
    for frame in frames:
        expected += 1 + frame.dropped
        assert frame.frame == expected
    assert sum(frame.dropped for frame in frames) + events - len(times) == overflows


def test_json_is_made_once_for_all_readers_with_the_same_filter() -> None:
    encoded = _frame(0)
    text = encoded.encode(MessageFilter(top=1))
    assert text is not None
    assert json.loads(text)["tags"] == {"guitar": 0.9}
    assert encoded.encode(MessageFilter(top=1)) is text
    assert encoded.encode(MessageFilter()) != text


def test_a_message_keeps_the_json_of_a_few_filters_only() -> None:
    encoded, first = _frame(0), MessageFilter(top=1)
    text = encoded.encode(first)
    for number in range(1000):
        assert encoded.encode(MessageFilter(min_probability=number / 10_000)) is not None
    assert encoded.encode(first) == text
    assert encoded.encode(first) is not text


def test_a_message_without_json_is_refused_and_one_that_the_filter_removes_is_none() -> None:
    guitar = MessageFilter(frozenset({"guitar"}))
    assert EncodedMessage(Event("mic", "slow", "on", 0.1)).encode(guitar) is None
    assert EncodedMessage(End("mic", 0.1, 0, {})).encode(guitar) is not None
    assert EncodedMessage(Error("\ud83d")).encode(MessageFilter()) == b'{"type":"error","message":"?"}'
    with pytest.raises(ValueError, match="JSON"):
        EncodedMessage(Gap("mic", float("inf"), 0.1)).encode(MessageFilter())
