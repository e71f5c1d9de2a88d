"""Messages on their way from the threads that make them to the one that writes them down."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from streamtag.protocol.messages import Message
from streamtag.server.queues import DropOldestQueue, EncodedMessage

NOTICES = 1000  # lines for people that wait at most


class ConsoleQueue:
    """Any thread puts, one takes. Putting never waits: where there is no room, frames go, and the next ones tell."""

    def __init__(self, length: int) -> None:
        """length: messages that wait at most."""
        self._mailbox = DropOldestQueue(length)
        self._notices: deque[str] = deque(maxlen=NOTICES)
        self._changed = threading.Condition()

    def put(self, messages: Sequence[Message]) -> None:
        with self._changed:
            for message in messages:
                self._mailbox.put(EncodedMessage(message))
            self._changed.notify()

    def say(self, notice: str) -> None:
        """A line for people."""
        with self._changed:
            self._notices.append(notice)
            self._changed.notify()

    def take(self, timeout_s: float) -> tuple[list[str], list[Message]]:
        """What waits, in order; nothing if nothing comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._mailbox or self._notices, timeout_s)
            messages: list[Message] = []
            while (letter := self._mailbox.take()) is not None:
                messages.append(letter.message)
            notices = list(self._notices)
            self._notices.clear()
        return notices, messages
