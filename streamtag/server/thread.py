"""The server in a thread of its own, with an event loop that owns the sockets; other threads publish messages."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Self

from streamtag.audio.source import Closing
from streamtag.errors import OutputError
from streamtag.protocol.messages import Hello, Message
from streamtag.protocol.queues import DropOldestQueue, EncodedMessage
from streamtag.protocol.selection import NO_FILTER
from streamtag.scheduler.scheduler import Scheduler
from streamtag.server.app import WebSocketApp
from streamtag.server.config import IngestConfig, ServerConfig
from streamtag.server.ingest_registry import IngestRegistry, OnMessage
from streamtag.server.metrics import SchedulerCollector, SchedulerMetrics

MIN_INBOX_LENGTH = 1024  # messages that wait for the event loop
INBOX_PER_STREAM = 8
TURNS_PER_QUEUE = 4  # subscribers get to send this often while a message queue's worth is published


class Inbox:
    """Messages on their way from any thread to the event loop."""

    def __init__(self, length: int, on_drop: Callable[[], None]) -> None:
        self._queue = DropOldestQueue(length)
        self._on_drop = on_drop
        self._lock = threading.Lock()  # of everything below
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None  # while it listens
        self._is_notified = False  # the loop will come for messages
        self._event = asyncio.Event()

    def put(self, messages: Sequence[EncodedMessage]) -> None:
        """Queue messages without blocking. After close() they are ignored."""
        with self._lock:
            if self._is_closed:
                return
            for message in messages:
                if not self._queue.put(message):
                    self._on_drop()
            self._notify()

    def close(self) -> None:
        """What was put before is still delivered."""
        with self._lock:
            self._is_closed = True
            self._notify()

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Notify this event loop from now on, or none."""
        with self._lock:
            self._loop, self._is_notified = loop, False
            self._notify()

    async def get(self, limit: int) -> list[EncodedMessage]:
        """Wait for messages and return up to `limit` of them. An empty list means closed and empty."""
        while True:
            with self._lock:
                messages: list[EncodedMessage] = []
                while len(messages) < limit and (message := self._queue.pop()) is not None:
                    messages.append(message)
                if messages or self._is_closed:
                    return messages
                self._is_notified = False
                self._event.clear()
            await self._event.wait()

    def _notify(self) -> None:
        if self._loop is not None and not self._is_notified:
            self._is_notified = True
            self._loop.call_soon_threadsafe(self._event.set)


class ServerThread(Closing):
    """A context manager that serves once, from a thread of its own; every other thread may publish.

    with ServerThread(ServerConfig.parse("8765"), hello) as server:
        server.publish(frame)

    address: of the page, "http://127.0.0.1:8765/"; subscribers replace http by ws.
    """

    def __init__(
        self,
        config: ServerConfig,
        hello: Hello,
        ingest: IngestConfig | None = None,
        on_message: OnMessage | None = None,
    ) -> None:
        """ingest: how audio is accepted once a scheduler is attached; None: not at all.

        on_message: called by the server's thread with a line for people when a producer comes; must not block.
        """
        self._config = config
        self._app = WebSocketApp(config, hello, ingest, on_message)
        length = max(MIN_INBOX_LENGTH, INBOX_PER_STREAM * (ingest.max_streams if ingest else 0))
        self._inbox = Inbox(length, self._app.metrics.dropped.inc)
        self._thread: threading.Thread | None = None
        self.address = ""

    @property
    def subscribers(self) -> int:
        """The number of subscribers now."""
        return len(self._app.hub)

    @property
    def producers(self) -> int:
        """The number of producers that are connected now."""
        return 0 if self._app.ingest is None else len(self._app.ingest)

    def observer(self) -> SchedulerMetrics:
        """Return an observer that counts a scheduler's work for /metrics. May be called once."""
        ingest, registry = self._ingest, self._app.metrics.registry
        registry.register(SchedulerCollector(lambda: ingest.scheduler))
        return SchedulerMetrics(registry)

    def attach(self, scheduler: Scheduler) -> None:
        """Accept producers from now on. The scheduler must publish to `publish_all`."""
        self._ingest.scheduler = scheduler

    def detach(self) -> None:
        """Accept no more producers."""
        self._ingest.scheduler = None

    def publish(self, message: Message) -> None:
        """Give a message to all subscribers; never blocks. After the server has closed it is ignored."""
        self._inbox.put([EncodedMessage(message)])

    def publish_all(self, messages: Sequence[Message]) -> None:
        """Publish many messages. They are encoded here, so that the event loop does not have to."""
        encoded = [EncodedMessage(message) for message in messages]
        for message in encoded:
            with suppress(ValueError):  # the app reports it
                message.encode(NO_FILTER)
        self._inbox.put(encoded)

    def __enter__(self) -> Self:
        """Raises OutputError if the address cannot be served, or the certificate cannot be used."""
        started: Future[str] = Future()
        arguments = (_tls_context(self._config), started)
        self._thread = threading.Thread(target=self._run, args=arguments, name="streamtag-serve", daemon=True)
        self._thread.start()
        self.address = started.result()
        return self

    def close(self) -> None:
        """Subscribers get what waits for them, for two seconds at most, and are closed with 1001."""
        self._inbox.close()
        if self._thread is not None:
            self._thread.join()

    @property
    def _ingest(self) -> IngestRegistry:
        assert self._app.ingest is not None, "this server was made without an IngestConfig"
        return self._app.ingest

    def _run(self, tls: ssl.SSLContext | None, started: Future[str]) -> None:
        try:
            asyncio.run(self._serve(tls, started))
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _serve(self, tls: ssl.SSLContext | None, started: Future[str]) -> None:
        address = await self._app.open(tls)
        self._inbox.attach(asyncio.get_running_loop())
        started.set_result(address)
        batch = max(1, self._config.queue_length // TURNS_PER_QUEUE)
        try:
            while messages := await self._inbox.get(batch):
                for message in messages:
                    self._app.publish(message)
                await asyncio.sleep(0)  # many messages at once overflow no queue: subscribers send in between
        finally:
            self._inbox.attach(None)
            await self._app.close()


def _tls_context(config: ServerConfig) -> ssl.SSLContext | None:
    if config.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # Session tickets arrive while the client is about to send its request. A client that reads and writes in two
    # threads, such as that of `websockets`, then lost its request once in about 200 connections: OpenSSL allows one
    # thread at a time.
    context.num_tickets = 0
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key, password="")  # an encrypted key fails, nobody is asked
    except (OSError, ValueError) as error:
        files = " and ".join(str(path) for path in (config.tls_cert, config.tls_key) if path is not None)
        reason = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else "no PEM pair"
        raise OutputError(f"{files}: cannot be used for TLS: {reason}") from None
    return context
