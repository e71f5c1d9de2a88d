"""The door for producers: who may send sound, who does, and streams that come from and go to other servers."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Response

from streamtag.errors import SpecError
from streamtag.scheduler.registry import Busy, NameTaken, UnknownStream
from streamtag.scheduler.scheduler import Scheduler
from streamtag.scheduler.stats import SchedulerStats
from streamtag.server.auth import AccessControl, HttpError
from streamtag.server.config import IngestConfig, ServerConfig
from streamtag.server.connections import Connection, ConnectionLimiter
from streamtag.server.hub import Hub
from streamtag.server.ingest import IngestConnection
from streamtag.server.ingest_config import IngestWish, is_ingest, is_state, named_by_state
from streamtag.server.metrics import Metrics
from streamtag.server.query import RequestTarget, check_known
from streamtag.server.routes import respond
from streamtag.server.state_import import StateImport

SOON_S = 2.0  # after which a server that begins or ends may be asked again
STATE_S = 10.0  # for an engine to give a stream's state
BYTES = "application/octet-stream"


@dataclass(frozen=True)
class Waiting:
    """A stream whose producer broke off still has its place, and is counted with its address."""

    address: str
    timer: asyncio.TimerHandle


class IngestRegistry:
    """Owned by the event loop, but for `engine`: any thread may set it, and None while nobody is let in."""

    def __init__(
        self,
        spec: IngestConfig,
        serve: ServerConfig,
        access: AccessControl,
        hub: Hub,
        gate: ConnectionLimiter,
        metrics: Metrics,
        say: Callable[[str], None],
    ) -> None:
        """say: is told who comes and goes; must not wait."""
        self.engine: Scheduler | None = None
        self._spec = spec
        self._serve = serve
        self._access = access
        self._hub = hub
        self._gate = gate
        self._metrics = metrics
        self._say = say
        self._connected: dict[str, IngestConnection] = {}  # by stream
        self._clients: Counter[str] = Counter()  # by address: connections, and streams that wait for one
        self._waiting: dict[str, Waiting] = {}  # by stream

    def __len__(self) -> int:
        """Streams whose producer is connected."""
        return len(self._connected)

    def load(self) -> SchedulerStats | None:
        """None while the engine begins or ends."""
        engine = self.engine
        return None if engine is None else engine.stats

    def concerns(self, target: RequestTarget) -> bool:
        return is_ingest(target) or is_state(target)

    def check(self, headers: Headers, target: RequestTarget) -> None:
        """Raises Refusal unless the request bears the producers' token."""
        self._access.check_ingest(headers, target)

    def expect(self, visitor: Connection, target: RequestTarget) -> Callable[[], None]:
        """-> what lets it in, once its handshake has succeeded; that raises Refusal. Raises SpecError."""
        if is_state(target):
            check_known(target.parameters, ())
            name = named_by_state(target)
            return lambda: self._let_adopt(visitor, name)
        wish = IngestWish.of(target, self._hub.hello)
        return lambda: self._let_in(visitor, wish)

    async def answer(self, address: str, target: RequestTarget) -> Response:
        """To plain HTTP: a stream's state; or, where sound is sent, why it could not be. Raises Refusal, SpecError."""
        if is_state(target):
            check_known(target.parameters, ())
            return await self._give(named_by_state(target))
        wish = IngestWish.of(target, self._hub.hello)
        self._check_place(address, wish.stream)
        self._check_name(wish.stream)
        engine = self._running()
        away = any(stream.name == wish.stream for stream in engine.streams)
        if not away:
            _check_room(engine.stats)
        text = "sound comes over a WebSocket, and this one would be let in"
        raise HttpError(HTTPStatus.UPGRADE_REQUIRED, "request", text, [("Upgrade", "websocket")])

    async def _give(self, name: str) -> Response:
        engine = self._running()
        try:
            async with asyncio.timeout(STATE_S):
                state = await asyncio.wrap_future(engine.export_state(name))
        except UnknownStream as error:
            raise HttpError(HTTPStatus.NOT_FOUND, "path", str(error)) from None
        except TimeoutError:
            raise _busy("busy: the stream's state could not be taken in time", engine.stats.retry_after_s) from None
        return respond(HTTPStatus.OK, state, BYTES)

    def _let_in(self, visitor: Connection, wish: IngestWish) -> None:
        name = wish.stream
        self._check_place(visitor.address, name)
        self._check_name(name)
        engine = self._running()
        producer = IngestConnection(
            visitor, wish, self._hub, self._spec, self._serve, self._metrics, self._released, self._left
        )
        known = self._connected.get(name)
        if known is not None:
            known.replace()
        try:
            feed = engine.open(name, wish.format, wish.position, producer.woken)
        except Busy as error:
            raise _busy(str(error), error.retry_after_s) from None
        except NameTaken as error:
            raise HttpError(HTTPStatus.CONFLICT, "name", str(error)) from None
        except SpecError as error:
            raise HttpError(HTTPStatus.BAD_REQUEST, "request", str(error)) from None
        self._wait_no_more(name)
        self._connected[name] = producer
        self._clients[producer.address] += 1
        self._gate.pass_through(visitor)
        self._metrics.producers.set(len(self))
        producer.begin(feed)
        self._say(f"{name}: sound from {producer.address}, {wish.format.rate} Hz {wish.format.encoding}")

    def _let_adopt(self, visitor: Connection, name: str) -> None:
        self._check_place(visitor.address, name)
        engine = self._running()
        _check_room(engine.stats)
        address = visitor.address
        self._clients[address] += 1
        self._gate.pass_through(visitor)
        StateImport(visitor, name, engine, self._spec.max_message_bytes, partial(self._adopted, name, address))

    def _running(self) -> Scheduler:
        if self.engine is None:
            raise _busy("busy: the server begins or ends", SOON_S)
        return self.engine

    def _check_place(self, address: str, name: str) -> None:
        waiting, known = self._waiting.get(name), self._connected.get(name)
        own = (waiting is not None and waiting.address == address) or (known is not None and known.address == address)
        if self._clients[address] - own >= self._spec.max_per_client:
            text = f"there are {self._spec.max_per_client} streams from your address already, and no more may be"
            raise HttpError(HTTPStatus.TOO_MANY_REQUESTS, "client", text, [("Retry-After", str(math.ceil(SOON_S)))])

    def _check_name(self, name: str) -> None:
        known = self._connected.get(name)
        if known is not None and not known.stale:
            text = f"{name}: a producer of this name is connected"
            raise HttpError(HTTPStatus.CONFLICT, "name", text)

    def _released(self, producer: IngestConnection) -> None:
        """Its stream has no connection any more."""
        if self._connected.get(producer.wish.stream) is producer:
            del self._connected[producer.wish.stream]
        self._metrics.producers.set(len(self))

    def _left(self, producer: IngestConnection) -> None:
        """Its connection is no more."""
        if producer.away and producer.wish.stream not in self._connected:
            self._wait_for(producer.wish.stream, producer.address)
        else:
            self._gone(producer.address)

    def _adopted(self, name: str, address: str, taken: bool) -> None:
        """A connection that brought a state is no more."""
        if taken and name not in self._connected:
            self._wait_for(name, address)
        else:
            self._gone(address)

    def _wait_for(self, name: str, address: str) -> None:
        """The stream is counted with the address for as long as it may wait."""
        self._wait_no_more(name)
        timer = asyncio.get_running_loop().call_later(self._spec.reconnect_grace_s, self._wait_no_more, name)
        self._waiting[name] = Waiting(address, timer)

    def _wait_no_more(self, name: str) -> None:
        waiting = self._waiting.pop(name, None)
        if waiting is not None:
            waiting.timer.cancel()
            self._gone(waiting.address)

    def _gone(self, address: str) -> None:
        """One connection fewer from there."""
        self._clients[address] -= 1
        if self._clients[address] <= 0:
            del self._clients[address]


def _check_room(load: SchedulerStats) -> None:
    if load.is_degraded:
        raise _busy("busy: what is here already is more than can be done in time", load.retry_after_s)
    if not load.room:
        raise _busy(f"busy: there is room for {load.capacity} streams, and no more", load.retry_after_s)


def _busy(text: str, retry_after_s: float) -> HttpError:
    seconds = max(1, math.ceil(retry_after_s))
    return HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", text, [("Retry-After", str(seconds))])
