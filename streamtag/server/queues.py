"""What waits for a reader who may be slow."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from streamtag.protocol.message_filter import MessageFilter
from streamtag.protocol.messages import End, Frame, Message


class EncodedMessage:
    """One message on its way to many readers: its JSON is made once for all who want the same of it."""

    __slots__ = ("_texts", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self._texts: dict[MessageFilter, bytes | None] = {}

    def text(self, message_filter: MessageFilter) -> bytes | None:
        """UTF-8 JSON of what is wanted of the message; None if nothing is.

        Raises ValueError for a message that has no JSON (one with a probability that is no number).
        """
        if message_filter not in self._texts:
            wanted = message_filter(self.message)
            # A replayed recording may hold halves of surrogate pairs
            self._texts[message_filter] = None if wanted is None else wanted.to_json().encode(errors="replace")
        return self._texts[message_filter]


class DropOldestQueue:
    """At most `length` messages, in order. Where there is no room the newest wins: the oldest frame goes, or, if
    there is none, the oldest letter. The next frame of its stream that is taken tells how many went (`dropped`).
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._letters: deque[EncodedMessage] = deque()
        self._dropped: dict[str, int] = {}  # by stream; forgotten at its end

    def __len__(self) -> int:
        return len(self._letters)

    def put(self, letter: EncodedMessage) -> bool:
        """-> whether there was room; if not, one letter was thrown away for it."""
        self._letters.append(letter)
        if len(self._letters) <= self._length:
            return True
        for index, old in enumerate(self._letters):
            if isinstance(old.message, Frame):
                frame = old.message  # what that one would have told is told by the next
                self._dropped[frame.stream] = self._dropped.get(frame.stream, 0) + 1 + frame.dropped
                del self._letters[index]
                return False
        self._forget(self._letters.popleft())
        return False

    def take(self) -> EncodedMessage | None:
        """The oldest; None if there is none."""
        if not self._letters:
            return None
        letter = self._letters.popleft()
        if not self._dropped:
            return letter
        if isinstance(letter.message, Frame) and letter.message.stream in self._dropped:
            dropped = letter.message.dropped + self._dropped.pop(letter.message.stream)
            return EncodedMessage(replace(letter.message, dropped=dropped))
        self._forget(letter)
        return letter

    def _forget(self, letter: EncodedMessage) -> None:
        """Of a stream that has ended no frame comes that could tell."""
        if isinstance(letter.message, End):
            self._dropped.pop(letter.message.stream, None)
