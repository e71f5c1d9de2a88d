"""The middle: messages come in, every subscriber is offered those that it wants."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from streamtag.message import End, Frame, Gap, Hello, Message
from streamtag.out.mailbox import Letter
from streamtag.out.metrics import Metrics
from streamtag.out.subscriber import Subscriber
from streamtag.out.thinning import Thinning
from streamtag.out.wish import Wish

KNOWN = 256  # streams that are remembered, those not heard of for longest are forgotten
ENDED = 16  # of these, streams that ended
EVERYTHING = Thinning()


@dataclass
class Known:
    """What a late subscriber is told of a stream. heard: when its last frame came, on time.monotonic().

    gap: the last, while frames from before it may still come.
    """

    frame: Frame | None = None
    gap: Gap | None = None
    end: End | None = None
    heard: float | None = None


class Hub:
    """Owned by the event loop."""

    def __init__(self, hello: Hello, metrics: Metrics) -> None:
        self.hello = hello
        self._metrics = metrics
        self._streams: OrderedDict[str, Known] = OrderedDict()  # the one heard of last at the end
        self._subscribers: set[Subscriber] = set()

    def __len__(self) -> int:
        """Subscribers now."""
        return len(self._subscribers)

    @property
    def streams(self) -> Iterator[tuple[str, Known]]:
        return iter(self._streams.items())

    def tell(self, letter: Letter) -> None:
        """Offers it to everybody. Raises ValueError for a message that has no JSON, before anybody knows of it."""
        letter.text(EVERYTHING)
        self._metrics.tell(letter.message)
        self._remember(letter.message)
        for subscriber in self._subscribers:
            subscriber.offer(letter)

    def join(self, subscriber: Subscriber) -> list[Letter]:
        """-> what it has to know first: who speaks, and where the streams stand."""
        self._subscribers.add(subscriber)
        self._metrics.subscribers.set(len(self))
        return [Letter(message) for message in self._greeting(subscriber.wish)]

    def leave(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)
        self._metrics.subscribers.set(len(self))

    def finish(self) -> None:
        """Nothing more will be told."""
        for subscriber in self._subscribers:
            subscriber.finish()

    def give_up(self) -> None:
        """Whoever still has something to be told is not told it any more."""
        for subscriber in self._subscribers:
            subscriber.give_up()

    def _greeting(self, wish: Wish) -> Iterator[Message]:
        yield self.hello
        for name, known in self._streams.items():
            if wish.stream in (None, name):
                if known.frame is not None:
                    yield known.frame
                if known.gap is not None:
                    yield known.gap
                if known.end is not None:
                    yield known.end

    def _remember(self, message: Message) -> None:
        if isinstance(message, Hello):
            self.hello = message
        name: str | None = getattr(message, "stream", None)
        if name is None:
            return
        known = self._streams.setdefault(name, Known())
        self._streams.move_to_end(name)
        if isinstance(message, Frame):
            # What others missed before it is none of a newcomer's business
            known.frame, known.end, known.heard = replace(message, dropped=0), None, time.monotonic()
            if known.gap is not None and (message.start + message.end) / 2 >= known.gap.start:
                known.gap = None
        elif isinstance(message, Gap):
            known.gap = message
        elif isinstance(message, End):
            known.end = message
            self._forget_ended()
        if len(self._streams) > KNOWN:
            self._streams.popitem(last=False)

    def _forget_ended(self) -> None:
        ended = [name for name, known in self._streams.items() if known.end is not None]
        for name in ended[:-ENDED]:
            del self._streams[name]
