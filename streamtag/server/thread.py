"""Streams for subscribers: a WebSocket server in a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Self

from streamtag.errors import OutputError
from streamtag.protocol.messages import Hello, Message
from streamtag.scheduler.scheduler import Scheduler
from streamtag.server.app import WebSocketApp
from streamtag.server.config import IngestConfig, ServerConfig
from streamtag.server.hub import EVERYTHING
from streamtag.server.ingest_registry import IngestRegistry
from streamtag.server.queues import DropOldestQueue, EncodedMessage
from streamtag.server.scheduler_metrics import SchedulerCollector, SchedulerMetrics

INBOX = 1024  # messages that wait for the event loop at most
EACH = 8  # or, if that is more, so many of each stream that there may be
TURNS = 4  # so often subscribers have their turn while as many letters are told as one of them has room for


class ServerThread:
    """Serves from a thread of its own, once; every other thread may publish.

    with ServerThread(ServerConfig.parse("8765"), hello) as server:
        server.publish(frame)
    """

    def __init__(
        self,
        config: ServerConfig,
        hello: Hello,
        ingest: IngestConfig | None = None,
        on_message: Callable[[str], None] | None = None,
    ) -> None:
        """ingest: how sound is taken, once there is an engine to hear it; None: not at all.

        on_message: called by the server's thread with a line for people when a producer comes; must not block.
        """
        self._config = config
        self._service = WebSocketApp(config, hello, ingest, on_message)
        self._inbox = DropOldestQueue(max(INBOX, EACH * (ingest.max_streams if ingest else 0)))
        self._together = max(1, config.queue_length // TURNS)
        self._lock = threading.Lock()  # of the inbox, whether the loop knows of it, and the loop
        self._woken = False
        self._loop: asyncio.AbstractEventLoop | None = None  # while it runs
        self._news = asyncio.Event()
        self._over = False
        self._thread: threading.Thread | None = None
        self._address = ""

    @property
    def address(self) -> str:
        """Of the page, "http://127.0.0.1:8765/"; subscribers put ws in place of http."""
        return self._address

    @property
    def subscribers(self) -> int:
        """How many there are now."""
        return len(self._service.hub)

    @property
    def producers(self) -> int:
        """Producers that are connected now."""
        return 0 if self._service.producers is None else len(self._service.producers)

    def observer(self) -> SchedulerMetrics:
        """What an engine's work is counted with, for /metrics; once."""
        ingest, registry = self._ingest, self._service.metrics.registry
        registry.register(SchedulerCollector(lambda: ingest.engine))
        return SchedulerMetrics(registry)

    def attach(self, scheduler: Scheduler) -> None:
        """Accept producers from now on. The scheduler must publish to `publish_all`."""
        self._ingest.engine = scheduler

    def detach(self) -> None:
        """Accept no more producers."""
        self._ingest.engine = None

    def publish(self, message: Message) -> None:
        """Hands it to whoever listens; never waits. A server that has ended takes no notice."""
        self._post([EncodedMessage(message)])

    def publish_all(self, messages: Sequence[Message]) -> None:
        """The same with many at once. Their JSON is made here, so that the event loop need not."""
        letters = [EncodedMessage(message) for message in messages]
        for letter in letters:
            with suppress(ValueError):  # the hub will say so
                letter.text(EVERYTHING)
        self._post(letters)

    @property
    def _ingest(self) -> IngestRegistry:
        assert self._service.producers is not None, "this server was made without an IngestConfig"
        return self._service.producers

    def _post(self, letters: Sequence[EncodedMessage]) -> None:
        with self._lock:
            if self._over:
                return
            for letter in letters:
                if not self._inbox.put(letter):
                    self._service.metrics.dropped.inc()
            if not self._woken:
                self._woken = True
                self._wake()

    def __enter__(self) -> Self:
        """Raises OutputError if the address cannot be served, or the certificate is of no use."""
        started: Future[str] = Future()
        arguments = (_tls(self._config), started)
        self._thread = threading.Thread(target=self._run, args=arguments, name="streamtag-serve", daemon=True)
        self._thread.start()
        self._address = started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Subscribers get what waits for them, for two seconds at most, and are closed with 1001."""
        with self._lock:
            self._over = True
            self._wake()
        if self._thread is not None:
            self._thread.join()

    def _wake(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._news.set)

    def _run(self, tls: ssl.SSLContext | None, started: Future[str]) -> None:
        try:
            asyncio.run(self._serve(tls, started))
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _serve(self, tls: ssl.SSLContext | None, started: Future[str]) -> None:
        address = await self._service.open(tls)
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._wake()
        started.set_result(address)
        try:
            while not self._over:
                await self._news.wait()
                self._news.clear()
                while letters := self._next():
                    for letter in letters:
                        self._service.tell(letter)
                    await asyncio.sleep(0)  # the subscribers' turn: many messages at once overrun no queue
        finally:
            with self._lock:
                self._loop = None
            await self._service.close()

    def _next(self) -> list[EncodedMessage]:
        """A few; if there are none, whoever posts the next has to wake the loop."""
        letters: list[EncodedMessage] = []
        with self._lock:
            while len(letters) < self._together and (letter := self._inbox.take()) is not None:
                letters.append(letter)
            self._woken = bool(letters)
        return letters


def _tls(spec: ServerConfig) -> ssl.SSLContext | None:
    if spec.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # Session tickets come while the client is about to ask. One that reads and asks in two threads, as websockets'
    # own does, then lost its request once in about 200 connections (OpenSSL allows one thread at a time).
    context.num_tickets = 0
    try:
        context.load_cert_chain(spec.tls_cert, spec.tls_key, password="")  # an encrypted key fails, asks nobody
    except (OSError, ValueError) as error:
        files = " and ".join(str(path) for path in (spec.tls_cert, spec.tls_key) if path is not None)
        why = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else "no PEM pair"
        raise OutputError(f"{files}: cannot be used for TLS: {why}") from None
    return context
