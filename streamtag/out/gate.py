"""Who is connected: connections that have not said what they want are few, and so are subscribers."""

from __future__ import annotations

import asyncio
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from streamtag.out.metrics import Metrics
from streamtag.out.subscriber import CLOSE_S
from streamtag.out.wish import Wish

WAITING = 64  # connections at most that are not subscribers, beside as many as may become some at once
HEAD = 32768  # bytes of a request; those of a browser with all its cookies are fewer


class Visitor(ServerConnection):
    """A connection that the gate knows from its first moment. wish: what it was admitted for."""

    def __init__(self, *arguments: Any, gate: Gate, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.wish: Wish | None = None
        self._gate = gate
        self._made = False
        self._ending = False
        self._head = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._made = True
        self._gate.arrive(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.request is None:
            self._head += len(data)
            if self._head > HEAD:
                self.transport.abort()
                return
        super().data_received(data)
        # After a close frame, or a broken one, the other side has to hang up. Nobody else watches whether it does.
        if self.state is State.CLOSING and not self._ending:
            self._ending = True
            self.loop.call_later(CLOSE_S, self.transport.abort)

    # Pings are answered without waiting for the socket. Who sends them and never reads the answers would
    # fill the memory: nothing is read from it while something waits to be written.

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._made:  # TLS may pause before, and goes on only when it has read
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.recv_messages.paused:
            self.transport.resume_reading()


class Gate:
    """Owned by the event loop. The oldest of too many waiting connections goes: an honest one waits only moments."""

    def __init__(self, max_clients: int, metrics: Metrics) -> None:
        self._max_clients = max_clients
        self._metrics = metrics
        self._waiting: dict[Visitor, None] = {}  # in the order in which they came
        self._admitted: set[Visitor] = set()

    def arrive(self, visitor: Visitor) -> None:
        self._waiting[visitor] = None
        if len(self._waiting) > self._max_clients + WAITING:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            self._metrics.refuse("waiting")
            oldest.transport.abort()

    def admit(self, visitor: Visitor, wish: Wish) -> bool:
        """Makes it a subscriber-to-be; false if there are as many as there may be."""
        if len(self._admitted) >= self._max_clients:
            return False
        self._waiting.pop(visitor, None)
        self._admitted.add(visitor)
        visitor.wish = wish
        return True

    def leave(self, visitor: Visitor) -> None:
        self._waiting.pop(visitor, None)
        self._admitted.discard(visitor)

    def dismiss_waiting(self) -> None:
        """Ends the connections that are no subscribers."""
        for visitor in list(self._waiting):
            visitor.transport.abort()

    def dismiss_all(self) -> None:
        for visitor in [*self._waiting, *self._admitted]:
            visitor.transport.abort()
