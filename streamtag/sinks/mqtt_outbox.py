"""What is to be published: the latest payload of each retained topic, and events in their order."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice

MAX_EVENTS = 50_000  # that wait: about 12 MB, and hours of an outage


@dataclass(frozen=True)
class Publication:
    """One message for the broker. number: the place of an event among all; None: it is retained."""

    topic: str
    payload: bytes
    number: int | None = None


class Outbox:
    """Retained topics, of which only the latest payload counts, and events, which are kept until they are confirmed.

    The owner takes a batch, publishes it in its order, and confirms each message; after a lost connection it calls
    `restart`, and what was not confirmed is in the next batches again.
    """

    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        """max_events: that wait; where there is no room the oldest is dropped."""
        self.dropped = 0  # events
        self._max_events = max_events
        self._events: deque[Publication] = deque()
        self._count = 0  # of events so far
        self._retained: dict[str, bytes] = {}  # by topic: what the broker should hold
        self._changed: dict[str, None] = {}  # topics to be published
        self._sent: set[str] = set()  # topics that the broker may hold

    @property
    def waiting(self) -> int:
        """The number of events that are not confirmed."""
        return len(self._events)

    def has_work(self) -> bool:
        """Return whether the next batch has a message."""
        return bool(self._changed or self._events)

    def retain(self, topic: str, payload: str) -> None:
        """Publish a retained message."""
        self._retained[topic] = payload.encode(errors="replace")
        self._changed[topic] = None

    def remove(self, topic: str) -> None:
        """Remove a retained topic from the broker."""
        if topic in self._sent:
            self.retain(topic, "")  # an empty payload removes it
        else:  # nothing accumulates in an outage
            self._retained.pop(topic, None)
            self._changed.pop(topic, None)

    def append(self, topic: str, payload: str) -> None:
        """Publish an event."""
        self._count += 1
        self._events.append(Publication(topic, payload.encode(errors="replace"), self._count))
        if len(self._events) > self._max_events:
            self._events.popleft()
            self.dropped += 1

    def batch(self, limit: int) -> list[Publication]:
        """Return up to `limit` messages, in the order in which they are to be published."""
        topics = list(islice(self._changed, limit))
        for topic in topics:
            del self._changed[topic]
        self._sent.update(topics)
        return [
            *(Publication(topic, self._retained[topic]) for topic in topics),
            *islice(self._events, limit - len(topics)),
        ]

    def confirm(self, message: Publication) -> None:
        """Forget a message that the broker has; with an event also those before it, as brokers confirm in order."""
        if message.number is not None:
            while self._events and (self._events[0].number or 0) <= message.number:
                self._events.popleft()
        elif not message.payload and not self._retained.get(message.topic):
            self._retained.pop(message.topic, None)
            self._sent.discard(message.topic)

    def restart(self) -> None:
        """Publish everything retained again: a broker that was restarted may have forgotten it."""
        self._changed = dict.fromkeys(self._retained)
