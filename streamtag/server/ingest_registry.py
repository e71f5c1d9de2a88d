"""Who sends audio: admission of producers, and of streams that move from and to other servers."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from websockets.http11 import Response

from streamtag.scheduler.scheduler import Scheduler
from streamtag.scheduler.stats import Busy, SchedulerStats
from streamtag.server.auth import HttpError
from streamtag.server.config import IngestConfig, ServerConfig
from streamtag.server.connections import Connection, Handler
from streamtag.server.hub import Hub
from streamtag.server.ingest import REPLACED, IngestConnection
from streamtag.server.limiter import ConnectionLimiter
from streamtag.server.metrics import Metrics
from streamtag.server.query import IngestQuery, RequestTarget
from streamtag.server.routes import respond
from streamtag.server.state_import import StateImport

RETRY_AFTER_S = 2.0  # when a server that is starting or closing may be asked again
EXPORT_TIMEOUT_S = 10.0  # for the scheduler to export a stream
BINARY = "application/octet-stream"

OnMessage = Callable[[str], None]


@dataclass(frozen=True)
class WaitingStream:
    """A stream that waits for its producer to reconnect, and still counts for its address."""

    address: str
    timer: asyncio.TimerHandle


class IngestRegistry:
    """The streams of producers, by name and by address. Belongs to the event loop, except `scheduler`: any thread may
    set it, to None while no producers are admitted.
    """

    def __init__(
        self,
        config: IngestConfig,
        server_config: ServerConfig,
        hub: Hub,
        limiter: ConnectionLimiter,
        metrics: Metrics,
        on_message: OnMessage | None,
    ) -> None:
        """on_message: called with a line for people when a producer comes; must not block."""
        self.scheduler: Scheduler | None = None
        self._config = config
        self._server_config = server_config
        self._hub = hub
        self._limiter = limiter
        self._metrics = metrics
        self._on_message = on_message
        self._connected: dict[str, IngestConnection] = {}  # by stream
        self._waiting: dict[str, WaitingStream] = {}  # by stream
        self._per_address: Counter[str] = Counter()  # connections, and streams that wait for one

    def __len__(self) -> int:
        """Return the number of streams whose producer is connected."""
        return len(self._connected)

    def stats(self) -> SchedulerStats | None:
        """Return those of the scheduler; None while the server is starting or closing."""
        scheduler = self.scheduler
        return None if scheduler is None else scheduler.stats

    def plan(self, connection: Connection, target: RequestTarget) -> Callable[[], Handler]:
        """Return what admits the connection after its handshake, and may raise REFUSALS. Raises SpecError itself."""
        if target.is_state:
            return partial(self._admit_import, connection, target.state_stream)
        return partial(self._admit_producer, connection, IngestQuery.parse(target, self._hub.hello))

    async def answer(self, address: str, target: RequestTarget) -> Response:
        """Answer plain HTTP with a stream's state, or with the reason why a producer would be refused.

        Raises REFUSALS.
        """
        if target.is_state:
            return await self._export(target.state_stream)
        stream = IngestQuery.parse(target, self._hub.hello).stream
        self._check_address(address, stream)
        self._check_name(stream)
        scheduler = self._running_scheduler()
        if all(known.name != stream for known in scheduler.streams):
            scheduler.stats.check_room()
        text = "sound comes over a WebSocket, and this one would be let in"
        raise HttpError(HTTPStatus.UPGRADE_REQUIRED, "request", text, [("Upgrade", "websocket")])

    async def _export(self, stream: str) -> Response:
        scheduler = self._running_scheduler()
        try:
            async with asyncio.timeout(EXPORT_TIMEOUT_S):
                state = await asyncio.wrap_future(scheduler.export_state(stream))
        except TimeoutError:
            raise Busy("the stream's state could not be exported in time", scheduler.stats.retry_after_s) from None
        return respond(HTTPStatus.OK, state, BINARY)

    def _admit_producer(self, connection: Connection, query: IngestQuery) -> Handler:
        stream = query.stream
        self._check_address(connection.address, stream)
        self._check_name(stream)
        scheduler = self._running_scheduler()
        producer = IngestConnection(
            connection,
            query,
            self._hub,
            self._config,
            self._server_config,
            self._metrics,
            self._on_release,
            partial(self._on_closed, stream, connection.address),
        )
        if stream in self._connected:
            self._connected[stream].close(REPLACED)
        handle = scheduler.open(stream, query.format, query.position, producer.notify_writable)
        self._stop_waiting(stream)
        self._connected[stream] = producer
        self._per_address[producer.address] += 1
        self._limiter.admit_producer(connection)
        self._metrics.producers.set(len(self))
        producer.begin(handle)
        if self._on_message is not None:
            self._on_message(f"{stream}: sound from {producer.address}, {query.format.rate} Hz {query.format.encoding}")
        return producer

    def _admit_import(self, connection: Connection, stream: str) -> Handler:
        address = connection.address
        self._check_address(address, stream)
        scheduler = self._running_scheduler()
        scheduler.stats.check_room()
        self._per_address[address] += 1
        self._limiter.admit_producer(connection)
        on_closed = partial(self._on_closed, stream, address)
        return StateImport(connection, stream, scheduler, self._config.max_message_bytes, on_closed)

    def _running_scheduler(self) -> Scheduler:
        if self.scheduler is None:
            raise Busy("the server is starting or closing", RETRY_AFTER_S)
        return self.scheduler

    def _check_address(self, address: str, stream: str) -> None:
        """Raises HttpError if the address has as many streams as it may have, not counting this one."""
        waiting, connected = self._waiting.get(stream), self._connected.get(stream)
        is_known = any(known is not None and known.address == address for known in (waiting, connected))
        if self._per_address[address] - is_known >= self._config.max_per_client:
            text = f"there are {self._config.max_per_client} streams from your address already, and no more may be"
            headers = [("Retry-After", str(math.ceil(RETRY_AFTER_S)))]
            raise HttpError(HTTPStatus.TOO_MANY_REQUESTS, "client", text, headers)

    def _check_name(self, stream: str) -> None:
        connected = self._connected.get(stream)
        if connected is not None and not connected.is_stale:
            raise HttpError(HTTPStatus.CONFLICT, "name", f"{stream}: a producer of this name is connected")

    def _on_release(self, producer: IngestConnection) -> None:
        """Its stream has no connection any more."""
        if self._connected.get(producer.query.stream) is producer:
            del self._connected[producer.query.stream]
        self._metrics.producers.set(len(self))

    def _on_closed(self, stream: str, address: str, stream_waits: bool) -> None:
        """A connection is gone. If its stream waits for another, it goes on counting for the address for a while."""
        if stream_waits and stream not in self._connected:
            self._stop_waiting(stream)
            timer = asyncio.get_running_loop().call_later(self._config.reconnect_grace_s, self._stop_waiting, stream)
            self._waiting[stream] = WaitingStream(address, timer)
        else:
            self._discount(address)

    def _stop_waiting(self, stream: str) -> None:
        waiting = self._waiting.pop(stream, None)
        if waiting is not None:
            waiting.timer.cancel()
            self._discount(waiting.address)

    def _discount(self, address: str) -> None:
        self._per_address[address] -= 1
        if self._per_address[address] <= 0:
            del self._per_address[address]
