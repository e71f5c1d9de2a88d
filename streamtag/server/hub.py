"""The middle: messages come in, every listener is offered those that it wants."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from streamtag.protocol.message_filter import MessageFilter
from streamtag.protocol.messages import End, Frame, Gap, Hello
from streamtag.server.metrics import Metrics
from streamtag.server.query import SubscribeQuery
from streamtag.server.queues import EncodedMessage

KNOWN = 256  # streams that are remembered, those not heard of for longest are forgotten
ENDED = 16  # of these, streams that ended
EVERYTHING = MessageFilter()


class MessageListener(Protocol):
    """One who is told messages. Offering never waits; it raises ValueError as Letter.text does."""

    def offer(self, letter: EncodedMessage) -> None: ...

    def finish(self) -> None:
        """Nothing more will be offered: what waits is sent, then the connection closed."""

    def give_up(self) -> None:
        """The same, without what waits."""


@dataclass
class StreamSnapshot:
    """What a late subscriber is told of a stream. heard: when its last frame came, on time.monotonic().

    gap: the last, while frames from before it may still come.
    """

    frame: EncodedMessage | None = None
    gap: Gap | None = None
    end: End | None = None
    heard: float | None = None


class Hub:
    """Owned by the event loop. Listeners are found by what they listen to: telling costs nothing for the others."""

    def __init__(self, hello: Hello, metrics: Metrics, known: int = KNOWN) -> None:
        """known: streams that are remembered."""
        self.hello = hello
        self._metrics = metrics
        self._most = known
        self._streams: OrderedDict[str, StreamSnapshot] = OrderedDict()  # the one heard of last at the end
        self._ended: OrderedDict[str, None] = OrderedDict()  # of these, those that ended, the last at the end
        self._listeners: dict[str | None, dict[MessageListener, None]] = {}  # by their stream; None: all streams
        self._subscribers = 0

    def __len__(self) -> int:
        """Subscribers now."""
        return self._subscribers

    @property
    def streams(self) -> Iterator[tuple[str, StreamSnapshot]]:
        return iter(self._streams.items())

    def tell(self, letter: EncodedMessage) -> None:
        """Offers it to everybody. Raises ValueError for a message that has no JSON, before anybody knows of it."""
        letter.text(EVERYTHING)
        message = letter.message
        self._metrics.tell(message)
        name: str | None = getattr(message, "stream", None)
        if name is None:
            if isinstance(message, Hello):
                self.hello = message
            for listener in self._all():
                listener.offer(letter)
            return
        self._remember(name, letter)
        for of in (name, None):
            for listener in self._listeners.get(of, ()):
                listener.offer(letter)

    def join(self, subscriber: MessageListener, wish: SubscribeQuery) -> list[EncodedMessage]:
        """-> what it has to know first: who speaks, and where the streams stand."""
        self.attach(subscriber, wish.stream)
        self._subscribers += 1
        self._metrics.subscribers.set(len(self))
        return list(self._greeting(wish))

    def leave(self, subscriber: MessageListener, wish: SubscribeQuery) -> None:
        self.detach(subscriber, wish.stream)
        self._subscribers -= 1
        self._metrics.subscribers.set(len(self))

    def attach(self, listener: MessageListener, stream: str | None) -> None:
        """It is offered what comes of the stream (None: of all) from now on."""
        self._listeners.setdefault(stream, {})[listener] = None

    def detach(self, listener: MessageListener, stream: str | None) -> None:
        """The opposite; a second time, nothing."""
        listeners = self._listeners.get(stream, {})
        listeners.pop(listener, None)
        if not listeners:
            self._listeners.pop(stream, None)

    def finish(self) -> None:
        """Nothing more will be told."""
        for listener in self._all():
            listener.finish()

    def give_up(self) -> None:
        """Whoever still has something to be told is not told it any more."""
        for listener in self._all():
            listener.give_up()

    def _all(self) -> list[MessageListener]:
        return [listener for listeners in self._listeners.values() for listener in listeners]

    def _greeting(self, wish: SubscribeQuery) -> Iterator[EncodedMessage]:
        yield EncodedMessage(self.hello)
        if wish.stream is None:
            streams = list(self._streams.values())
        else:
            streams = [self._streams[wish.stream]] if wish.stream in self._streams else []
        for known in streams:
            if known.frame is not None:
                yield known.frame
            if known.gap is not None:
                yield EncodedMessage(known.gap)
            if known.end is not None:
                yield EncodedMessage(known.end)

    def _remember(self, name: str, letter: EncodedMessage) -> None:
        message = letter.message
        known = self._streams.get(name)
        if known is None:
            known = self._streams[name] = StreamSnapshot()
        self._streams.move_to_end(name)
        if isinstance(message, Frame):
            # What others missed before it is none of a newcomer's business
            known.frame = EncodedMessage(replace(message, dropped=0)) if message.dropped else letter
            known.heard = time.monotonic()
            if known.end is not None:
                known.end = None
                del self._ended[name]
            if known.gap is not None and (message.start + message.end) / 2 >= known.gap.start:
                known.gap = None
        elif isinstance(message, Gap):
            known.gap = message
        elif isinstance(message, End):
            known.end = message
            self._ended[name] = None
            self._ended.move_to_end(name)
            if len(self._ended) > ENDED:
                del self._streams[self._ended.popitem(last=False)[0]]
        if len(self._streams) > self._most:
            self._ended.pop(self._streams.popitem(last=False)[0], None)
