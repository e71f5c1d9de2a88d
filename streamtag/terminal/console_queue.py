"""A queue between the threads that produce messages and the one that prints them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from streamtag.protocol.messages import Message
from streamtag.protocol.queues import DropOldestQueue, EncodedMessage

MAX_NOTICES = 1000


class ConsoleQueue:
    """Messages and notices from any thread to one reader. Writers never wait: a full queue drops the oldest frames."""

    def __init__(self, max_messages: int) -> None:
        self._messages = DropOldestQueue(max_messages)
        self._notices: deque[str] = deque(maxlen=MAX_NOTICES)
        self._changed = threading.Condition()

    def put_all(self, messages: Sequence[Message]) -> None:
        with self._changed:
            for message in messages:
                self._messages.put(EncodedMessage(message))
            self._changed.notify()

    def notify(self, notice: str) -> None:
        """Add a line for people."""
        with self._changed:
            self._notices.append(notice)
            self._changed.notify()

    def read(self, timeout_s: float) -> tuple[list[str], list[Message]]:
        """Return all notices and messages, in order; none if none come in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self._notices, timeout_s)
            messages: list[Message] = []
            while (item := self._messages.pop()) is not None:
                messages.append(item.message)
            notices = list(self._notices)
            self._notices.clear()
        return notices, messages
