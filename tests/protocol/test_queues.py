"""What waits for a slow reader is bounded and in order, and every dropped frame is reported."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace

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


@given(st.integers(1, 6), st.lists(st.sampled_from(["frame", "event", "pop"]), max_size=80))
def test_the_oldest_frames_and_events_are_dropped_and_the_next_frame_reports_it(
    length: int, actions: list[str]
) -> None:
    """Frames displace frames, events displace events, and the rest stays in order."""
    queue, expected, dropped = DropOldestQueue(length), deque[EncodedMessage](), 0
    for number, action in enumerate(actions):
        if action == "pop":
            popped, awaited = queue.pop(), expected.popleft().message if expected else None
            if isinstance(awaited, Frame):
                awaited, dropped = replace(awaited, dropped=awaited.dropped + dropped), 0
            assert (popped and popped.message) == awaited
            continue
        encoded = _frame(number, dropped=number % 3) if action == "frame" else _event(number)
        others = [each for each in expected if type(each.message) is type(encoded.message)]
        assert queue.put(encoded) == (len(others) < length)
        expected.append(encoded)
        if len(others) == length:
            oldest = others[0]
            expected.remove(oldest)
            dropped += 1 + oldest.message.dropped if isinstance(oldest.message, Frame) else 0
    assert len(queue) == len(expected)


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


def test_json_is_made_once_for_all_readers_with_the_same_filter() -> None:
    queue = DropOldestQueue(1)
    queue.put(encoded := _frame(0))
    assert queue.pop() is encoded
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
