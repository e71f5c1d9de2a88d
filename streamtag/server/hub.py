"""Every published message goes to the listeners of its stream; late subscribers get the state of the streams."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Protocol

from streamtag.protocol.messages import MAX_HELLO_STREAMS, End, Event, Frame, Gap, Hello
from streamtag.protocol.queues import EncodedMessage
from streamtag.protocol.selection import NO_FILTER
from streamtag.server.history import MAX_HISTORIES, HistoryExcerpt, Labels, StreamHistory
from streamtag.server.metrics import Metrics

MAX_STREAMS = 256  # that are remembered; the one without messages for longest is forgotten first
MAX_ENDED_STREAMS = 16  # of these


class MessageListener(Protocol):
    def offer(self, encoded: EncodedMessage) -> None:
        """Accept a message without blocking. Raises ValueError as EncodedMessage.encode does."""


@dataclass
class StreamSnapshot:
    """What a late subscriber learns about a stream. frame_time: when its last frame came, on time.monotonic().

    gap: the last one, while frames from before it may still come. history: its past while it runs.
    """

    frame: EncodedMessage | None = None
    gap: Gap | None = None
    end: End | None = None
    frame_time: float | None = None
    history: StreamHistory | None = None


class Hub:
    """Belongs to the event loop. Listeners are found by stream: a message costs nothing for those of other streams."""

    def __init__(
        self, hello: Hello, metrics: Metrics, max_streams: int = MAX_STREAMS, max_histories: int = MAX_HISTORIES
    ) -> None:
        """max_streams: streams that are remembered. max_histories: while more run, new ones have no past."""
        self.hello = hello
        self._metrics = metrics
        self._max_streams = max_streams
        self._streams: OrderedDict[str, StreamSnapshot] = OrderedDict()  # the one with the latest message is the last
        self._ended: OrderedDict[str, None] = OrderedDict()  # of these, those that ended, the latest last
        self._labels, self._max_histories = Labels.of(hello), max_histories
        self._listeners: dict[str | None, dict[MessageListener, None]] = {}  # by their stream; None: all streams
        self._subscribers = 0

    def __len__(self) -> int:
        """Return the number of subscribers."""
        return self._subscribers

    @property
    def streams(self) -> Iterator[tuple[str, StreamSnapshot]]:
        return iter(self._streams.items())

    def publish(self, encoded: EncodedMessage) -> None:
        """Offer a message to its listeners. Raises ValueError, before any of them gets it, if it has no JSON."""
        encoded.encode(NO_FILTER)
        message = encoded.message
        self._metrics.count(message)
        name: str | None = getattr(message, "stream", None)
        if name is None:
            if isinstance(message, Hello):
                self.hello, self._labels = message, Labels.of(message)
                for snapshot in self._streams.values():
                    snapshot.history = None
            names = list(self._listeners)
        else:
            self._remember(name, encoded)
            names = [name, None]
        for name in names:
            for listener in self._listeners.get(name, ()):
                listener.offer(encoded)

    def subscribe(
        self, subscriber: MessageListener, stream: str | None, history_s: float = 0.0
    ) -> Iterator[EncodedMessage]:
        """Add a subscriber. Return what it has to know first: the hello, and the state of the streams as it is now.

        history_s: so much of the past of running streams, too. Its messages are made while the iterator is read.
        """
        self.attach(subscriber, stream)
        self._count_subscribers(+1)
        greeting = list(self._greeting(stream, history_s))
        return (EncodedMessage(item.message()) if isinstance(item, HistoryExcerpt) else item for item in greeting)

    def unsubscribe(self, subscriber: MessageListener, stream: str | None) -> None:
        self.detach(subscriber, stream)
        self._count_subscribers(-1)

    def attach(self, listener: MessageListener, stream: str | None) -> None:
        """Offer the listener all messages of the stream (None: of all streams) from now on."""
        self._listeners.setdefault(stream, {})[listener] = None

    def detach(self, listener: MessageListener, stream: str | None) -> None:
        """Undo attach; a second call has no effect."""
        listeners = self._listeners.get(stream, {})
        listeners.pop(listener, None)
        if not listeners:
            self._listeners.pop(stream, None)

    def _count_subscribers(self, change: int) -> None:
        self._subscribers += change
        self._metrics.subscribers.set(self._subscribers)

    def _greeting(self, stream: str | None, history_s: float) -> Iterator[EncodedMessage | HistoryExcerpt]:
        yield EncodedMessage(replace(self.hello, streams=self._running(stream)))
        if stream is None:
            snapshots = dict(self._streams)
        else:
            snapshots = {stream: self._streams[stream]} if stream in self._streams else {}
        histories = {name: each.history for name, each in snapshots.items() if each.history and history_s}
        limit = self._labels.share(len(histories))
        for name, snapshot in snapshots.items():
            if name in histories:
                yield histories[name].excerpt(name, history_s, limit)
            if snapshot.frame is not None:
                yield snapshot.frame
            if snapshot.gap is not None and name not in histories:  # which have it
                yield EncodedMessage(snapshot.gap)
            if snapshot.end is not None:
                yield EncodedMessage(snapshot.end)

    def _running(self, stream: str | None) -> tuple[str, ...]:
        """Return the names of running streams: this one first, then the one with the latest message, and so on."""
        running = (name for name, snapshot in reversed(self._streams.items()) if snapshot.end is None)
        first = [] if stream is None or stream in self._ended or stream not in self._streams else [stream]
        return tuple(islice(chain(first, (name for name in running if name not in first)), MAX_HELLO_STREAMS))

    def _remember(self, name: str, encoded: EncodedMessage) -> None:
        message = encoded.message
        snapshot = self._streams.get(name)
        if snapshot is None:
            snapshot = self._streams[name] = StreamSnapshot()
        self._streams.move_to_end(name)
        if isinstance(message, Frame):
            # What others missed before this frame does not concern a new subscriber.
            snapshot.frame = EncodedMessage(replace(message, dropped=0)) if message.dropped else encoded
            snapshot.frame_time = time.monotonic()
            if snapshot.end is not None:
                snapshot.end = None
                del self._ended[name]
            if snapshot.history is None and len(self._streams) - len(self._ended) <= self._max_histories:
                snapshot.history = StreamHistory(self._labels)
            if snapshot.history is not None:
                snapshot.history.add_frame(message)
            if snapshot.gap is not None and (message.start + message.end) / 2 >= snapshot.gap.start:
                snapshot.gap = None
        elif isinstance(message, Gap):
            snapshot.gap = message
            if snapshot.history is not None:
                snapshot.history.add_gap(message)
        elif isinstance(message, Event):
            if snapshot.history is not None:
                snapshot.history.add_event(message)
        elif isinstance(message, End):
            snapshot.end, snapshot.history = message, None
            self._ended[name] = None
            self._ended.move_to_end(name)
            if len(self._ended) > MAX_ENDED_STREAMS:
                del self._streams[self._ended.popitem(last=False)[0]]
        if len(self._streams) > self._max_streams:
            forgotten = self._streams.popitem(last=False)[0]
            self._ended.pop(forgotten, None)
