"""Who is connected: connections that have not said what they want are few, and so are subscribers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from websockets.asyncio.server import ServerConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.http11 import Request
from websockets.protocol import State

from streamtag.server.close_reason import CLOSE_S
from streamtag.server.metrics import Metrics

WAITING = 64  # connections at most that have no place, beside as many as may get one at once
HEAD = 32768  # bytes of a request; those of a browser with all its cookies are fewer
UNREAD = 65536  # bytes that wait for a producer's socket at most: it has to read the answers to its pings


class Handler(Protocol):
    """What a connection was admitted as."""

    async def attend(self) -> None:
        """From the handshake to the connection's end."""

    def lost(self) -> None:
        """The connection is gone. It is told once, whether it was attended or not."""


class FrameHandler(Protocol):
    """Takes what comes over a connection at once, in place of a task that waits for it."""

    def take(self, frame: Frame) -> None: ...


class Connection(ServerConnection):
    """A connection that the gate knows from its first moment. guest: what it was admitted as; taker: as it says."""

    def __init__(self, *arguments: Any, gate: ConnectionLimiter, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.guest: Handler | None = None
        self.taker: FrameHandler | None = None
        self.admit: Callable[[], None] | None = None  # makes it a guest
        self._gate = gate
        self._made = False
        self._ending = False
        self._head = 0

    @property
    def address(self) -> str:
        """Of the other side's machine; empty if it is gone already."""
        return str(self.remote_address[0]) if self.remote_address else ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._made = True
        self._gate.arrive(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.leave(self)
        super().connection_lost(exc)
        if self.guest is not None:
            self.guest.lost()

    def data_received(self, data: bytes) -> None:
        if self.request is None:
            self._head += len(data)
            if self._head > HEAD:
                self.transport.abort()
                return
        super().data_received(data)
        if self.taker is not None and self.transport.get_write_buffer_size() > UNREAD:
            self.transport.abort()
        # After a close frame, or a broken one, the other side has to hang up. Nobody else watches whether it does.
        if self.state is State.CLOSING and not self._ending:
            self._ending = True
            self.loop.call_later(CLOSE_S, self.transport.abort)

    def process_event(self, event: Request | Any) -> None:
        if self.taker is not None and isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            self.taker.take(event)
        else:
            super().process_event(event)

    def send_data(self) -> None:
        """Several messages at once are one write: the system is asked once."""
        writes = self.protocol.writes
        if len(writes) > 1 and all(writes):  # an empty one is the connection's end
            writes[:] = [b"".join(writes)]
        super().send_data()

    # Pings are answered without waiting for the socket. Who sends them and never reads the answers would
    # fill the memory: nothing is read from it while something waits to be written. But a producer is heard
    # although it does not read: it is cut when too much waits.

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._made and self.taker is None:  # TLS may pause before, and goes on only when it has read
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.taker is None and not self.recv_messages.paused:
            self.transport.resume_reading()


class ConnectionLimiter:
    """Owned by the event loop. The oldest of too many waiting connections goes: an honest one waits only moments."""

    def __init__(self, max_clients: int, producers: int, metrics: Metrics) -> None:
        """max_clients: subscribers at most; producers: how many of these may come at once."""
        self._max_clients = max_clients
        self._most_waiting = max_clients + producers + WAITING
        self._metrics = metrics
        self._waiting: dict[Connection, None] = {}  # in the order in which they came
        self._subscribers: set[Connection] = set()
        self._others: set[Connection] = set()

    def arrive(self, visitor: Connection) -> None:
        self._waiting[visitor] = None
        if len(self._waiting) > self._most_waiting:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            self._metrics.refuse("waiting")
            oldest.transport.abort()

    def admit(self, visitor: Connection) -> bool:
        """Makes it a subscriber-to-be; false if there are as many as there may be."""
        if len(self._subscribers) >= self._max_clients:
            return False
        self._waiting.pop(visitor, None)
        self._subscribers.add(visitor)
        return True

    def pass_through(self, visitor: Connection) -> None:
        """It was admitted elsewhere."""
        self._waiting.pop(visitor, None)
        self._others.add(visitor)

    def leave(self, visitor: Connection) -> None:
        self._waiting.pop(visitor, None)
        self._subscribers.discard(visitor)
        self._others.discard(visitor)

    def dismiss_waiting(self) -> None:
        """Ends the connections that have no place."""
        for visitor in list(self._waiting):
            visitor.transport.abort()

    def dismiss_all(self) -> None:
        for visitor in [*self._waiting, *self._subscribers, *self._others]:
            visitor.transport.abort()
