"""One who sends sound: its connection, its feed, and its end."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import suppress

from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from streamtag.protocol.messages import End, Ready
from streamtag.scheduler.producer_handle import ProducerHandle
from streamtag.server.close_reason import BAD_TEXT, ENDED, OVER, REPLACED, SILENT, CloseReason
from streamtag.server.config import IngestConfig, ServerConfig
from streamtag.server.connections import Connection
from streamtag.server.hub import Hub
from streamtag.server.ingest_config import IngestWish
from streamtag.server.metrics import Metrics
from streamtag.server.queues import EncodedMessage
from streamtag.server.send_queue import SendQueue
from streamtag.server.token_bucket import TokenBucket

RECV_BUFFER = 65536  # bytes in the kernel: who has to wait is not far ahead, and nobody fills the loop with one read
LONGEST_TEXT = 256  # bytes; what a producer may say is far shorter


class IngestConnection:
    """Owned by the event loop. Its sound is handed on as it is read, without a task in between; a task of its own
    carries its stream's messages back, which it may read or not.
    """

    def __init__(
        self,
        visitor: Connection,
        wish: IngestWish,
        hub: Hub,
        spec: IngestConfig,
        serve: ServerConfig,
        metrics: Metrics,
        released: Callable[[IngestConnection], None],
        gone: Callable[[IngestConnection], None],
    ) -> None:
        """released: called when its stream is free for another connection; gone: when this connection is no more."""
        self.wish = wish
        self.address = visitor.address
        self.away = False  # its stream waits for another connection
        self._visitor = visitor
        self._hub = hub
        self._spec = spec
        self._stall_s = serve.stall_timeout_s
        self._released = released
        self._gone = gone
        self._outbox = SendQueue(visitor, wish.message_filter, serve.queue_length, None, metrics)
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._feed: ProducerHandle | None = None  # until it is released
        self._position = 0
        self._allowance = TokenBucket(self._loop.time())
        self._heard = self._loop.time()  # when sound came last, or could have come again
        self._text: bytearray | None = None  # of a message in parts
        self._full = self._hurried = False  # why nothing is read
        self._end_said = False
        self._farewell: CloseReason | None = None
        self._going = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}  # by what they are for

    @property
    def stale(self) -> bool:
        """No sound came for long, although it could have."""
        quiet_s = self._loop.time() - self._heard
        return not (self._paused or self._end_said) and quiet_s > self._spec.stale_after_s

    @property
    def _paused(self) -> bool:
        return self._full or self._hurried

    def woken(self) -> None:
        """From any thread: there is room in the feed again, or it has ended."""
        with suppress(RuntimeError):  # the loop is no more
            self._loop.call_soon_threadsafe(self._go_on)

    def begin(self, feed: ProducerHandle) -> None:
        """It is let in: from here on sound may come."""
        self._feed, self._position = feed, feed.position
        self._visitor.guest = self._visitor.taker = self
        self._visitor.protocol.max_message_size = self._spec.max_message_bytes
        self._visitor.ping_interval = None  # its sound is its sign of life; who waits to be heard cannot answer
        plug = self._visitor.transport.get_extra_info("socket")
        if plug is not None:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECV_BUFFER)
        self._hub.attach(self, self.wish.stream)
        self._watch()

    async def attend(self) -> None:
        """Tells it hello, ready, and what comes of its stream, until the connection has ended."""
        greeting = [EncodedMessage(self._hub.hello), EncodedMessage(Ready(self.wish.stream, self._position))]
        self._writing = asyncio.create_task(self._outbox.write(greeting))
        going = asyncio.create_task(self._going.wait())
        try:
            await asyncio.wait({self._writing, going}, return_when=asyncio.FIRST_COMPLETED)
            await self._stop_writing()
            await (self._farewell or OVER).say(self._visitor)
        finally:
            going.cancel()
            self._release()

    def lost(self) -> None:
        """The connection is gone."""
        for timer in self._timers.values():
            timer.cancel()
        self._hub.detach(self, self.wish.stream)
        self._release()
        self._going.set()
        self._gone(self)

    def leave(self, farewell: CloseReason) -> None:
        """Closes the connection; the stream waits for another, or has ended."""
        self._farewell = self._farewell or farewell
        self._release()
        self._going.set()

    def replace(self) -> None:
        """Another connection goes on with the stream."""
        self.leave(REPLACED)

    # --- as a listener of the hub ------------------------------------------------------------------------------------

    def offer(self, letter: EncodedMessage) -> None:
        self._outbox.offer(letter)
        if isinstance(letter.message, End):
            self._ended()

    def finish(self) -> None:
        self._farewell = self._farewell or OVER
        self._outbox.finish()

    def give_up(self) -> None:
        self._going.set()

    # --- as the taker of what comes over the connection --------------------------------------------------------------

    def take(self, frame: Frame) -> None:
        """A message, or a part of one: sound may be cut anywhere."""
        if self._feed is None or self._end_said:
            return
        if frame.opcode is Opcode.TEXT or self._text is not None:
            self._hear_text(frame)
        elif frame.data:
            self._heard = now = self._loop.time()
            data = frame.data if isinstance(frame.data, bytes) else bytes(frame.data)
            room = self._feed.push(data)
            wait_s = self._allowance.take(now)
            if not room or wait_s:
                self._pause(full=not room, wait_s=wait_s)

    def _hear_text(self, frame: Frame) -> None:
        self._text = self._text or bytearray()
        self._text += frame.data
        if len(self._text) > LONGEST_TEXT:
            self.leave(BAD_TEXT)
        elif frame.fin:
            said, self._text = bytes(self._text), None
            if not _is_end(said):
                self.leave(BAD_TEXT)
            elif self._feed is not None:
                self._end_said = True
                self._feed.end()

    def _pause(self, full: bool, wait_s: float) -> None:
        self._visitor.transport.pause_reading()
        self._full |= full
        if wait_s and not self._hurried:
            self._hurried = True
            self._later("calm", wait_s, self._calm_down)

    def _calm_down(self) -> None:
        self._hurried = False
        self._read_on()

    def _go_on(self) -> None:
        self._full = False
        if self._feed is not None and self._feed.has_ended:
            # Its `end` is on its way here, if there is one: an engine that is closed may have had no time for it
            self._later("ended", self._stall_s, self._ended)
        self._read_on()

    def _read_on(self) -> None:
        if not self._paused:
            self._heard = self._loop.time()
            self._visitor.transport.resume_reading()

    # --- its end -----------------------------------------------------------------------------------------------------

    def _ended(self) -> None:
        """The stream is over: what waits is sent, for a while."""
        self._farewell = self._farewell or ENDED
        self._end_said = True
        self._release()
        self._outbox.finish()
        self._later("going", self._stall_s, self._going.set)

    def _release(self) -> None:
        """The stream is no longer this connection's. It waits for another, unless it has ended or is about to."""
        feed, self._feed = self._feed, None
        if feed is None:
            return
        if not (self._end_said or feed.has_ended):
            feed.disconnect()
            self.away = True
        self._released(self)

    def _watch(self) -> None:
        """Closes it when no sound has come for too long."""
        quiet_s = 0.0 if self._paused or self._end_said else self._loop.time() - self._heard
        if quiet_s >= self._spec.idle_timeout_s:
            self._metrics.silent.inc()
            self.leave(SILENT)
        else:
            self._later("watch", self._spec.idle_timeout_s - quiet_s, self._watch)

    def _later(self, what: str, seconds: float, call: Callable[[], None]) -> None:
        """Unless the connection is gone by then."""
        if what in self._timers:
            self._timers[what].cancel()
        self._timers[what] = self._loop.call_later(seconds, call)

    async def _stop_writing(self) -> None:
        assert self._writing is not None
        self._writing.cancel()
        with suppress(asyncio.CancelledError, ConnectionClosed):
            await self._writing


def _is_end(text: bytes) -> bool:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("type") == "end"
