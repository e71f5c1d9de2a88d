"""Messages that wait for a slow reader: encoded once for all readers, and bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from streamtag.protocol.messages import End, Frame, Message
from streamtag.protocol.selection import MessageFilter

MAX_CACHED_FILTERS = 64  # of one message: the last frame of a stream is kept for subscribers with filters of any kind


class EncodedMessage:
    """A message for many readers; its JSON is made once for all readers with the same filter."""

    __slots__ = ("_json", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self._json: dict[MessageFilter, bytes | None] = {}

    def encode(self, message_filter: MessageFilter) -> bytes | None:
        """Return the filtered message as UTF-8 JSON, or None if the filter leaves nothing.

        Raises ValueError for a message that JSON cannot represent, such as one with a probability of NaN.
        """
        try:
            return self._json[message_filter]
        except KeyError:
            pass
        filtered = message_filter(self.message)
        if len(self._json) >= MAX_CACHED_FILTERS:
            self._json.clear()
        # A replayed recording may contain halves of surrogate pairs.
        text = self._json[message_filter] = None if filtered is None else filtered.to_json().encode(errors="replace")
        return text


class DropOldestQueue:
    """A queue of at most `length` frames and `length` other messages that never blocks.

    Frames and other messages are bounded separately, so that neither kind displaces the other. Where there is no room,
    the oldest message of the same kind is dropped, in constant time. Messages come out in the order in which they were
    put. The next frame of a stream reports in `dropped` how many frames before it were dropped.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._frames: deque[tuple[int, EncodedMessage]] = deque()  # with the place of each in the order
        self._others: deque[tuple[int, EncodedMessage]] = deque()
        self._count = 0  # messages put so far
        self._dropped: dict[str, int] = {}  # frames of each stream that are not reported yet

    def __len__(self) -> int:
        return len(self._frames) + len(self._others)

    def put(self, encoded: EncodedMessage) -> bool:
        """Append a message. Return False if another one was dropped for it."""
        self._count += 1
        queue = self._frames if isinstance(encoded.message, Frame) else self._others
        queue.append((self._count, encoded))
        if len(queue) <= self._length:
            return True
        dropped = queue.popleft()[1].message
        if isinstance(dropped, Frame):
            self._dropped[dropped.stream] = self._dropped.get(dropped.stream, 0) + 1 + dropped.dropped
        else:
            self._forget_ended(dropped)
        return False

    def pop(self) -> EncodedMessage | None:
        """Remove and return the oldest message, or return None if the queue is empty."""
        if not self._others:
            if not self._frames:
                return None
            queue = self._frames
        elif self._frames and self._frames[0][0] < self._others[0][0]:
            queue = self._frames
        else:
            queue = self._others
        encoded = queue.popleft()[1]
        if not self._dropped:
            return encoded
        message = encoded.message
        if isinstance(message, Frame):
            if message.stream in self._dropped:
                return EncodedMessage(replace(message, dropped=message.dropped + self._dropped.pop(message.stream)))
        else:
            self._forget_ended(message)
        return encoded

    def _forget_ended(self, message: Message) -> None:
        """After the end of a stream no frame follows that could report dropped ones."""
        if isinstance(message, End):
            self._dropped.pop(message.stream, None)
