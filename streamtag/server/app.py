"""The server inside its event loop: it listens, routes requests to their handlers, and closes."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus

from websockets.http11 import Request, Response

from streamtag.errors import OutputError
from streamtag.protocol.messages import Hello
from streamtag.protocol.queues import EncodedMessage
from streamtag.server.auth import REFUSALS, AccessControl, HttpError, as_http_error
from streamtag.server.config import IngestConfig, Origin, ServerConfig
from streamtag.server.connections import Connection, Handler
from streamtag.server.history_route import HistoryRoute
from streamtag.server.hub import MAX_STREAMS, Hub
from streamtag.server.ingest_registry import IngestRegistry, OnMessage
from streamtag.server.limiter import ConnectionLimiter
from streamtag.server.metrics import Metrics
from streamtag.server.query import RequestTarget, SubscribeQuery
from streamtag.server.routes import HISTORY_PATH, METHODS, HttpRoutes, refuse
from streamtag.server.subscriber import Subscriber
from streamtag.text import join_address

MIN_BACKLOG = 100  # connections that the kernel holds until they are accepted
MAX_PORTS_TRIED = 100  # to find one that is free
DRAIN_TIMEOUT_S = 2.0  # how long closing waits for subscribers that are behind
RETRY_AFTER_S = 5  # when a subscriber that found no place may ask again
FRAMES_PER_STREAM = 4  # that wait for a subscriber of all streams: those of a second
REACHABLE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what to open where the socket listens on all addresses
REMEMBERED_PER_STREAM = 2  # streams that the hub remembers for each that may run


class WebSocketApp:
    """Belongs to the event loop, except `metrics` and the scheduler of `ingest`, which any thread may use."""

    def __init__(
        self, config: ServerConfig, hello: Hello, ingest: IngestConfig | None, on_message: OnMessage | None
    ) -> None:
        """ingest: None for a server that accepts no audio. on_message: as that of IngestRegistry."""
        max_streams = 0 if ingest is None else ingest.max_streams
        self.metrics = Metrics()
        self.hub = Hub(hello, self.metrics, max(MAX_STREAMS, REMEMBERED_PER_STREAM * max_streams))
        self._config = config
        self._long_queue = max(config.queue_length, FRAMES_PER_STREAM * max_streams)
        self._access = AccessControl(config, None if ingest is None else ingest.token)
        self._limiter = ConnectionLimiter(config.max_clients, max_streams, self.metrics)
        self.ingest: IngestRegistry | None = None
        if ingest is not None:
            self.ingest = IngestRegistry(ingest, config, self.hub, self._limiter, self.metrics, on_message)
        stats = None if self.ingest is None else self.ingest.stats
        self._history = None if config.history is None else HistoryRoute(config.history)
        self._routes = HttpRoutes(self.hub, self.metrics, self._access, stats, self._history is not None)
        self._log = logging.getLogger("streamtag.server")
        self._log.addHandler(logging.NullHandler())  # what goes wrong with one connection is not for the terminal
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, tls: ssl.SSLContext | None) -> str:
        """Start listening and return the address of the page. Raises OutputError if that is impossible."""
        loop, config = asyncio.get_running_loop(), self._config
        loop.set_exception_handler(
            lambda _, context: self._log.error("%s", context["message"], exc_info=context.get("exception"))
        )
        try:
            self._server = await loop.create_server(
                lambda: Connection(config, self._log, self._limiter.add, self._on_request, self._limiter.remove),
                config.host,
                config.port,
                ssl=tls,
                backlog=max(MIN_BACKLOG, config.max_clients),  # after a restart all of them come at once
                ssl_handshake_timeout=config.open_timeout_s if tls else None,
                ssl_shutdown_timeout=config.close_timeout_s if tls else None,
            )
        except (OSError, UnicodeError) as error:
            address = join_address(config.host, config.port)
            raise OutputError(f"{address}: cannot be served: {_describe(error)}{_advice(error, config)}") from None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{config.scheme}://{join_address(REACHABLE.get(host, host), port)}/"

    def publish(self, encoded: EncodedMessage) -> None:
        """Offer a message to all subscribers. One that has no JSON is a defect: it is logged and left out."""
        try:
            self.hub.publish(encoded)
        except ValueError:
            self._log.exception("a message cannot be sent")

    async def close(self) -> None:
        """Send subscribers what waits for them, but not for long, then close every connection with code 1001."""
        if self._history is not None:
            self._history.close()
        if self._server is not None:
            loop = asyncio.get_running_loop()
            for listener in self._server.sockets:
                loop.remove_reader(listener.fileno())
            for _ in range(2):  # what was just accepted becomes a Connection: closing before leaves its socket open
                await asyncio.sleep(0)
            self._server.close()
            await self._limiter.close(DRAIN_TIMEOUT_S, self._config.close_timeout_s)

    def _on_request(self, connection: Connection, request: Request) -> None:
        try:
            own = self._access.check_host(request.headers)
            target = RequestTarget.parse(request.path)
            if any("websocket" in line.lower() for line in request.headers.get_all("Upgrade")):
                self._access.check_origin(request.headers, own)
                connection.accept(request, self._plan(connection, request, target))
            else:
                self._answer(connection, request, target, own)
        except REFUSALS as error:
            connection.respond(self._refuse(error))

    def _plan(self, connection: Connection, request: Request, target: RequestTarget) -> Callable[[], Handler]:
        """Return what admits the connection after its handshake, as IngestRegistry.plan does."""
        if self.ingest is not None and (target.is_ingest or target.is_state):
            self._access.check_ingest_token(request.headers, target)
            return self.ingest.plan(connection, target)
        self._access.check_token(request.headers, target)
        query = SubscribeQuery.parse(target, self.hub.hello)
        if query is None:
            raise HttpError(HTTPStatus.NOT_FOUND, "path", "subscribers connect to / or /streams/NAME")
        return lambda: self._admit_subscriber(connection, query)

    def _admit_subscriber(self, connection: Connection, query: SubscribeQuery) -> Handler:
        if not self._limiter.admit_subscriber(connection):
            text = f"there are {self._config.max_clients} subscribers already, and no more may be"
            headers = [("Retry-After", str(RETRY_AFTER_S))]
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "full", text, headers)
        length = self._long_queue if query.stream is None else self._config.queue_length
        return Subscriber(connection, query, self.hub, self._config, self.metrics, length)

    def _answer(self, connection: Connection, request: Request, target: RequestTarget, own: Origin) -> None:
        """Answer a plain HTTP request. Raises REFUSALS."""
        answer: Awaitable[Response]
        if self._history is not None and target.path == HISTORY_PATH and request.method in METHODS:
            self._access.check_origin(request.headers, own)
            self._access.check_token(request.headers, target)
            answer = self._history.answer(target)
        elif self.ingest is not None and request.method == "GET" and (target.is_ingest or target.is_state):
            self._access.check_origin(request.headers, own)
            self._access.check_ingest_token(request.headers, target)
            answer = self.ingest.answer(connection.address, target)
        else:
            connection.respond(self._routes.answer(request, target, own))
            return
        task = asyncio.create_task(self._answer_later(connection, request, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_later(self, connection: Connection, request: Request, answer: Awaitable[Response]) -> None:
        try:
            response = await answer
        except REFUSALS as error:
            response = self._refuse(error)
        if request.method == "HEAD":
            response.body = b""
        connection.respond(response)

    def _refuse(self, error: Exception) -> Response:
        error = as_http_error(error)
        self.metrics.count_refusal(error.reason)
        return refuse(error)


def _describe(error: OSError | UnicodeError) -> str:
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return (error.strerror if isinstance(error, OSError) else None) or "not a host"


def _advice(error: OSError | UnicodeError, config: ServerConfig) -> str:
    """Return what to do if only the port is taken; the port is tried, not guessed."""
    if not isinstance(error, OSError) or error.errno != errno.EADDRINUSE:
        return ""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    for port in range(config.port + 1, min(config.port + MAX_PORTS_TRIED, 65536)):
        with suppress(OSError), socket.create_server((config.host, port), family=family):
            return f"; port {port} is free"
    return ""
