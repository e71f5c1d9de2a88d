"""The server inside its event loop: admits, attends, ends."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import cast

from websockets.asyncio.server import Server as Listener
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from streamtag.errors import OutputError, SpecError
from streamtag.protocol.messages import Hello
from streamtag.server.auth import AccessControl, HttpError
from streamtag.server.close_reason import CLOSE_S
from streamtag.server.config import IngestConfig, ServerConfig
from streamtag.server.connections import Connection, ConnectionLimiter
from streamtag.server.hub import KNOWN, Hub
from streamtag.server.ingest_registry import IngestRegistry
from streamtag.server.metrics import Metrics
from streamtag.server.origin import Origin
from streamtag.server.query import RequestTarget, SubscribeQuery
from streamtag.server.queues import EncodedMessage
from streamtag.server.routes import HttpRoutes, refuse
from streamtag.server.subscriber import Subscriber

OPEN_S = 10.0  # s; until a connection has said what it wants, and has the page if that is it
PING_S = 20.0
PONG_S = 60.0  # s; generous: what lies in a slow reader's buffers comes before the ping
DRAIN_S = 2.0  # s; how long the end waits for subscribers that are behind
BACKLOG = 100  # connections that the kernel holds until they are accepted, at least
RETRY_S = 5  # s; after which one who found no place may ask again
LETTERS = 4  # for one who hears all streams as many wait as they tell in a second
REMEMBERED = 2  # streams for each that may run
UNBUFFERED = (1, 0)  # bytes: sending goes on when the kernel has all of the message before


class WebSocketApp:
    """Owned by the event loop, but for `metrics`, which any thread may count with, and the producers' engine."""

    def __init__(
        self,
        spec: ServerConfig,
        hello: Hello,
        ingest: IngestConfig | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """ingest: None where no sound is taken. say: is told which producers come; must not wait."""
        streams = 0 if ingest is None else ingest.max_streams
        self.metrics = Metrics()
        self.hub = Hub(hello, self.metrics, max(KNOWN, REMEMBERED * streams))
        self._spec = spec
        self._queue_of_all = max(spec.queue_length, LETTERS * streams)
        self._access = AccessControl(spec, None if ingest is None else ingest.token)
        self._gate = ConnectionLimiter(spec.max_clients, streams, self.metrics)
        self.producers: IngestRegistry | None = None
        if ingest is not None:
            self.producers = IngestRegistry(
                ingest, spec, self._access, self.hub, self._gate, self.metrics, say or _unsaid
            )
        load = None if self.producers is None else self.producers.load
        self._pages = HttpRoutes(self.hub, self.metrics, self._access, load)
        self._log = _log()
        self._listener: Listener | None = None

    async def open(self, tls: ssl.SSLContext | None) -> str:
        """Begins to listen. -> the page's address. Raises OutputError if it cannot."""
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self._log.error("%s", context["message"], exc_info=context.get("exception"))
        )
        try:
            self._listener = await serve(
                self._attend,
                self._spec.host,
                self._spec.port,
                ssl=tls,
                backlog=max(BACKLOG, self._spec.max_clients),  # after a restart all of them come at once
                process_request=self._decide,
                process_response=self._settle,
                create_connection=cast(type[ServerConnection], partial(Connection, gate=self._gate)),
                # Compressed, every subscriber would need 64 KiB of state and a compression of its own
                compression=None,
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
                ping_interval=PING_S,
                ping_timeout=PONG_S,
                max_size=self._spec.max_message_bytes,
                max_queue=1,
                write_limit=UNBUFFERED,
                server_header=None,
                logger=self._log,
            )
        except (OSError, UnicodeError) as error:
            where = _joined(self._spec.host, self._spec.port)
            raise OutputError(f"{where}: cannot be served: {_why(error)}") from None
        host, port = self._listener.sockets[0].getsockname()[:2]
        return f"{self._spec.scheme}://{_joined(_reachable(host), port)}/"

    def tell(self, letter: EncodedMessage) -> None:
        """Offers it to all subscribers. A message that has no JSON is left out, and a defect: it is logged."""
        try:
            self.hub.tell(letter)
        except ValueError:
            self._log.exception("a message cannot be sent")

    async def close(self) -> None:
        """Subscribers get what waits for them, for DRAIN_S at most, then every connection is closed with 1001."""
        if self._listener is None:
            return
        self._listener.close(close_connections=False)
        self._gate.dismiss_waiting()
        self.hub.finish()
        end = asyncio.ensure_future(self._listener.wait_closed())
        for wait_s, then in ((DRAIN_S, self.hub.give_up), (CLOSE_S, self._gate.dismiss_all)):
            done, _ = await asyncio.wait({end}, timeout=wait_s)
            if done:
                return
            then()
        await end

    def _decide(self, connection: ServerConnection, request: Request) -> Response | Awaitable[Response] | None:
        """A page, a refusal, or None for one who may have a place."""
        assert isinstance(connection, Connection)
        try:
            own = self._access.check_host(request.headers)
            try:
                target = RequestTarget.of(request.path)
                if not any("websocket" in line.lower() for line in request.headers.get_all("Upgrade")):
                    return self._answer(connection, request, target, own)
                self._access.check_origin(request.headers, own)
                if self.producers is not None and self.producers.concerns(target):
                    self.producers.check(request.headers, target)
                    connection.admit = self.producers.expect(connection, target)
                else:
                    self._access.check_token(request.headers, target)
                    connection.admit = self._expect(connection, target)
            except SpecError as error:
                raise HttpError(HTTPStatus.BAD_REQUEST, "request", str(error)) from None
        except HttpError as refusal:
            return self._refuse(refusal)
        return None

    def _answer(
        self, connection: Connection, request: Request, target: RequestTarget, own: Origin
    ) -> Response | Awaitable[Response]:
        """To plain HTTP. Raises Refusal, SpecError."""
        if self.producers is None or request.method != "GET" or not self.producers.concerns(target):
            return self._pages.answer(request, target, own)
        self._access.check_origin(request.headers, own)
        self.producers.check(request.headers, target)
        return self._answer_later(self.producers.answer(connection.address, target))

    async def _answer_later(self, answer: Awaitable[Response]) -> Response:
        try:
            return await answer
        except SpecError as error:
            return self._refuse(HttpError(HTTPStatus.BAD_REQUEST, "request", str(error)))
        except HttpError as refusal:
            return self._refuse(refusal)

    def _expect(self, connection: Connection, target: RequestTarget) -> Callable[[], None]:
        """-> what makes it a subscriber, and raises Refusal where it cannot. Raises Refusal, SpecError."""
        wish = SubscribeQuery.of(target, self.hub.hello)
        if wish is None:
            raise HttpError(HTTPStatus.NOT_FOUND, "path", "subscribers connect to / or /streams/NAME")

        def admit() -> None:
            if not self._gate.admit(connection):
                text = f"there are {self._spec.max_clients} subscribers already, and no more may be"
                raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "full", text, [("Retry-After", str(RETRY_S))])
            queue = self._queue_of_all if wish.stream is None else self._spec.queue_length
            connection.guest = Subscriber(connection, wish, self.hub, self._spec, queue, self.metrics)

        return admit

    def _settle(self, connection: ServerConnection, request: Request, response: Response) -> Response | None:  # noqa: ARG002
        """Only who knows the protocol gets a place: the handshake would succeed."""
        assert isinstance(connection, Connection)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS or connection.admit is None:
            return None
        try:
            connection.admit()
        except HttpError as refusal:
            return self._refuse(refusal)
        return None

    def _refuse(self, refusal: HttpError) -> Response:
        self.metrics.refuse(refusal.reason)
        return refuse(refusal)

    async def _attend(self, connection: ServerConnection) -> None:
        """One who has a place, to the end."""
        assert isinstance(connection, Connection)
        assert connection.guest is not None
        await connection.guest.attend()


def _unsaid(text: str) -> None:
    del text


def _log() -> logging.Logger:
    """Silent unless somebody listens: what goes wrong with one connection is no news on the terminal."""
    log = logging.getLogger("streamtag.serve")
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    return log


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reachable(host: str) -> str:
    """An address to open where the socket listens on all of the machine's."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _why(error: OSError | UnicodeError) -> str:
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return (error.strerror if isinstance(error, OSError) else None) or "not a host"
