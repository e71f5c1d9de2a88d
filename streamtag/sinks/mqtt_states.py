"""The topics of the streams, and what they hold.

Below the topic of the address; all but the events are retained:

    status                   online or offline: of this program; the broker says offline if it vanishes
    STREAM/status            online or offline: of the stream
    STREAM/CONCEPT/state     ON or OFF, as by the events
    STREAM/strongest         the strongest of the concepts that are present, or none
    STREAM/events            each event message as JSON, with `detected_at` [s, Unix time]
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from streamtag.protocol.messages import JSON, TIME_DECIMALS, End, Event, Frame, History, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.mqtt_address import concept_levels, stream_level
from streamtag.sinks.mqtt_discovery import Discovery

MAX_EVENTS = 50_000  # that wait: about 12 MB, and hours of an outage
ONLINE, OFFLINE, ON, OFF, NONE = "online", "offline", "ON", "OFF", "none"
STRONGEST_MARGIN = 0.05  # by which another concept has to be stronger, so that two similar ones do not alternate
MAX_ENDED_STREAMS = 64  # whose topics remain on the broker: streams of a server may have ever new names


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


@dataclass
class StreamState:
    """topic: of the stream. frame: the latest that `strongest` was not computed from."""

    topic: str
    present: set[str] = field(default_factory=set)
    strongest: str = NONE
    frame: Frame | None = None


class MqttStates:
    """Writes to an outbox what the messages of streams change."""

    def __init__(
        self,
        topic: str,
        selection: Selection,
        outbox: Outbox,
        discovery: Discovery | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """selection: its concepts that have a threshold are published; in a model without concepts its tags."""
        concepts = [concept.name for concept in selection.concepts if concept.threshold is not None]
        names = concepts if selection.concepts else list(selection.tags)
        levels = dict(zip(names, concept_levels(names), strict=True))
        sent = selection.sent_concepts if selection.concepts else ()
        chosen = {concept.name for concept in sent} if selection.concepts else set(selection.sent_tags)
        self._levels = {name: level for name, level in levels.items() if name in chosen}
        self._topic = topic
        self._outbox = outbox
        self._discovery = discovery
        self._clock = clock
        self._running: dict[str, StreamState] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()  # the latest is the last

    def add(self, message: Message) -> None:
        """Apply a message; frames count at the next `update_strongest`."""
        if isinstance(message, Frame):
            self._stream(message.stream).frame = message
        elif isinstance(message, Event):
            if message.tag in self._levels:
                state = self._stream(message.stream)
                event = {**message.to_dict(), "detected_at": round(self._clock(), TIME_DECIMALS)}
                self._outbox.append(f"{state.topic}/events", JSON.encode(event))
                self._set_present(state, message.tag, message.state == "on")
        elif isinstance(message, History):
            state = self._stream(message.stream)
            for name in self._levels:
                if (name in message.present) != (name in state.present):
                    self._set_present(state, name, name in message.present)
        elif isinstance(message, End):
            self._end(message.stream)

    def update_strongest(self) -> None:
        """Publish the strongest concept of streams in which it has changed."""
        for state in self._running.values():
            if state.frame is not None:
                probs = state.frame.concepts or state.frame.tags
                strongest = max(state.present, key=lambda name: probs.get(name, 0.0), default=NONE)
                limit = probs.get(state.strongest, 0.0) + STRONGEST_MARGIN
                if state.strongest not in state.present or probs.get(strongest, 0.0) > limit:
                    self._set_strongest(state, strongest)
                state.frame = None

    def go_offline(self) -> None:
        """Publish that no stream runs any more, nor this program."""
        for state in self._running.values():
            self._outbox.retain(f"{state.topic}/status", OFFLINE)
        self._outbox.retain(f"{self._topic}/status", OFFLINE)

    def _stream(self, name: str) -> StreamState:
        if (state := self._running.get(name)) is not None:
            return state
        state = self._running[name] = StreamState(f"{self._topic}/{stream_level(name)}")
        self._ended.pop(name, None)
        for level in self._levels.values():
            self._outbox.retain(f"{state.topic}/{level}/state", OFF)
        self._outbox.retain(f"{state.topic}/strongest", NONE)
        self._outbox.retain(f"{state.topic}/status", ONLINE)
        if self._discovery is not None:
            topic, config = self._discovery.config(self._topic, name, state.topic, self._levels)
            self._outbox.retain(topic, config)
        return state

    def _end(self, name: str) -> None:
        """The events have switched everything off before."""
        state = self._stream(name)
        self._set_strongest(state, NONE)
        self._outbox.retain(f"{state.topic}/status", OFFLINE)
        del self._running[name]
        self._ended[name] = None
        if len(self._ended) > MAX_ENDED_STREAMS:
            self._remove(self._ended.popitem(last=False)[0])

    def _remove(self, name: str) -> None:
        """Remove what the broker holds of a stream."""
        topic = f"{self._topic}/{stream_level(name)}"
        topics = [f"{topic}/status", f"{topic}/strongest", *(f"{topic}/{each}/state" for each in self._levels.values())]
        if self._discovery is not None:
            topics.append(self._discovery.topic(self._topic, name))
        for each in topics:
            self._outbox.remove(each)

    def _set_present(self, state: StreamState, name: str, is_present: bool) -> None:
        (state.present.add if is_present else state.present.discard)(name)
        self._outbox.retain(f"{state.topic}/{self._levels[name]}/state", ON if is_present else OFF)

    def _set_strongest(self, state: StreamState, name: str) -> None:
        if name != state.strongest:
            state.strongest = name
            self._outbox.retain(f"{state.topic}/strongest", name)
