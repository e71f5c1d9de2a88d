"""Streams for subscribers: a WebSocket server, and the sink that feeds it."""

from __future__ import annotations

import asyncio
import ssl
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from streamtag.errors import OutputError
from streamtag.message import Hello, Message
from streamtag.out.mailbox import Letter, Mailbox
from streamtag.out.message_sink import MessageSink
from streamtag.out.service import Service
from streamtag.out.serving import ServeSpec

INBOX = 1024  # messages that wait for the event loop at most


class Server:
    """Serves from a thread of its own, once; every other thread may publish.

    with Server(ServeSpec.parse("8765"), hello) as server:
        server.publish(frame)
    """

    def __init__(self, spec: ServeSpec, hello: Hello) -> None:
        self._spec = spec
        self._service = Service(spec, hello)
        self._inbox = Mailbox(INBOX)
        self._lock = threading.Lock()  # of the inbox and the loop
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

    def publish(self, message: Message) -> None:
        """Hands it to whoever listens; never waits. A server that has ended takes no notice."""
        with self._lock:
            if self._over:
                return
            if not self._inbox.put(Letter(message)):
                self._service.metrics.dropped.inc()
            self._wake()

    def __enter__(self) -> Self:
        """Raises OutputError if the address cannot be served, or the certificate is of no use."""
        started: Future[str] = Future()
        arguments = (_tls(self._spec), started)
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
                while (letter := self._next()) is not None:
                    self._service.tell(letter)
                    await asyncio.sleep(0)  # the subscribers' turn: many messages at once overrun no queue
        finally:
            with self._lock:
                self._loop = None
            await self._service.close()

    def _next(self) -> Letter | None:
        with self._lock:
            return self._inbox.take()


class WebSocketSink(MessageSink):
    """Publishes what a stream gives."""

    def __init__(self, tags: tuple[str, ...], server: Server) -> None:
        """tags: the model's, in its order [P]."""
        super().__init__(tags)
        self._server = server

    def tell(self, message: Message) -> None:
        self._server.publish(message)


def _tls(spec: ServeSpec) -> ssl.SSLContext | None:
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
