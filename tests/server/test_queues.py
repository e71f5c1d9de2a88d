"""What waits for a slow reader: bounded, in order, and nothing is lost untold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.protocol.message_filter import MessageFilter
from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Message
from streamtag.server.queues import DropOldestQueue, EncodedMessage


def _frame(number: int, dropped: int = 0) -> EncodedMessage:
    return EncodedMessage(Frame("mic", number, 0.0, 0.5, {"guitar": 0.9, "slow": 0.1}, dropped=dropped))


def _told(mailbox: DropOldestQueue) -> list[Message]:
    messages = []
    while (letter := mailbox.take()) is not None:
        messages.append(letter.message)
    return messages


def test_where_there_is_room_all_comes_in_order() -> None:
    mailbox = DropOldestQueue(3)
    letters = [_frame(0), EncodedMessage(Gap("mic", 0.5, 0.1)), _frame(1)]
    assert all(mailbox.put(letter) for letter in letters)
    assert [mailbox.take() for _ in range(4)] == [*letters, None]  # the very same: their JSON is shared


def test_the_oldest_frame_goes_and_the_next_one_tells() -> None:
    mailbox = DropOldestQueue(3)
    event = Event("mic", "guitar", "on", 0.1)
    assert mailbox.put(_frame(0, dropped=2))  # it had something to tell itself
    assert mailbox.put(EncodedMessage(event))
    assert mailbox.put(_frame(1))
    assert not mailbox.put(_frame(2))
    assert not mailbox.put(_frame(3))
    first, second, third = _told(mailbox)
    assert first == event
    assert isinstance(second, Frame)
    assert isinstance(third, Frame)
    assert [(frame.frame, frame.dropped) for frame in (second, third)] == [(2, 4), (3, 0)]


def test_without_frames_the_oldest_goes() -> None:
    mailbox = DropOldestQueue(2)
    for number in range(4):
        mailbox.put(EncodedMessage(Gap("mic", number, 0.1)))
    assert _told(mailbox) == [Gap("mic", 2, 0.1), Gap("mic", 3, 0.1)]


@given(st.integers(1, 8), st.lists(st.sampled_from(["frame", "event", "take"]), max_size=80))
def test_whatever_is_put_and_taken_the_frames_and_the_dropped_add_up(length: int, actions: list[str]) -> None:
    mailbox, put, events, thrown = DropOldestQueue(length), 0, 0, 0
    got: list[Message] = []
    for number, action in enumerate(actions):
        if action == "take":
            if (letter := mailbox.take()) is not None:
                got.append(letter.message)
            continue
        put += action == "frame"
        events += action == "event"
        letter = _frame(put - 1) if action == "frame" else EncodedMessage(Event("mic", "guitar", "on", number))
        thrown += not mailbox.put(letter)
        assert len(mailbox) <= length
    got += _told(mailbox)
    mailbox.put(_frame(put))
    got += _told(mailbox)  # one more frame, and all is told
    frames = [message for message in got if isinstance(message, Frame)]
    times = [message.time for message in got if isinstance(message, Event)]
    assert times == sorted(times)
    expected = -1
    for frame in frames:
        expected += 1 + frame.dropped
        assert frame.frame == expected
    dropped = sum(frame.dropped for frame in frames)
    assert dropped + events - len(times) == thrown


def test_json_is_made_once_for_all_who_want_the_same() -> None:
    letter = _frame(0)
    text = letter.text(MessageFilter(top=1))
    assert text is not None
    assert json.loads(text)["tags"] == {"guitar": 0.9}
    assert letter.text(MessageFilter(top=1)) is text
    assert letter.text(MessageFilter()) != text


def test_there_is_no_json_of_what_is_not_wanted_or_cannot_be_said() -> None:
    assert EncodedMessage(Event("mic", "slow", "on", 0.1)).text(MessageFilter(frozenset({"guitar"}))) is None
    assert EncodedMessage(End("mic", 0.1, 0, {})).text(MessageFilter(frozenset({"guitar"}))) is not None
    assert EncodedMessage(Error("\ud83d")).text(MessageFilter()) == b'{"type":"error","message":"?"}'
    with pytest.raises(ValueError, match="JSON"):
        EncodedMessage(Gap("mic", float("inf"), 0.1)).text(MessageFilter())
