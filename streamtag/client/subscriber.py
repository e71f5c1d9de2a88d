"""A subscriber of a streamtag server that reconnects whenever the connection breaks."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Generator
from http.client import BAD_REQUEST
from pathlib import Path
from typing import Self

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from streamtag.audio.source import Closing, SourceNotice
from streamtag.audio.threaded import FIRST_DELAY_S, ThreadedIterator, next_delay
from streamtag.client.address import ServerAddress
from streamtag.client.retry import permanent_error, transient_error
from streamtag.errors import ProtocolError, SourceError
from streamtag.protocol.messages import Hello, Message
from streamtag.protocol.reader import MAX_MESSAGE_CHARS, parse
from streamtag.text import printable

OPEN_TIMEOUT_S = 5.0
HELLO_TIMEOUT_S = 10.0
PING_INTERVAL_S = 10.0  # also how long the server may take to answer
CLOSE_TIMEOUT_S = 1.0
POLL_INTERVAL_S = 0.25  # how soon the thread notices that it should end
JOIN_TIMEOUT_S = 2.0
MAX_QUEUED = 256  # unread messages; then the server's own queue fills, and it drops the oldest frames
STABLE_CONNECTION_S = 10.0  # after a connection that lasted this long, delays start anew
LOG = logging.getLogger("streamtag.client")  # silent: what happens to a connection is reported by a SourceNotice
LOG.addHandler(logging.NullHandler())
Items = Generator[Message | SourceNotice, None, None]


class SubscriberClient(Closing):
    """A context manager that connects in a thread of its own, and again whenever the connection breaks.

    `read` raises what can only be a mistake, such as a wrong token or another kind of server. A temporary problem is
    reported by a SourceNotice, once until it is over.
    """

    def __init__(
        self,
        address: ServerAddress,
        token: str | None = None,
        ca: Path | None = None,
        first_delay_s: float = FIRST_DELAY_S,
        history_s: int = 0,
    ) -> None:
        """ca: a certificate to trust instead of the system's. first_delay_s: before the second attempt.

        history_s: with every connection ask for so much of the past, at most 300, unless the address asks for some; an
        older server, which refuses that, is asked without. Raises SourceError if the token or the certificate cannot be
        used.
        """
        if token is not None and not (token.isascii() and token.isprintable()):
            raise SourceError("a token is printable ASCII")
        self._address = address
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._tls = _tls_context(address, ca)
        self._first_delay_s = first_delay_s
        self._history_s = history_s
        self._stop_requested = threading.Event()
        self._was_connected = False  # it is a streamtag server
        self._reported_problem: str | None = None
        self._items: ThreadedIterator[Message | SourceNotice]  # while it is open

    def __enter__(self) -> Self:
        self._items = ThreadedIterator(self._run(), MAX_QUEUED, "streamtag-subscriber", JOIN_TIMEOUT_S)
        return self

    def close(self) -> None:
        self._stop_requested.set()
        self._items.close()  # a thread that still waits for an answer ends by itself

    def read(self, timeout_s: float) -> Message | SourceNotice | None:
        """Return what comes next, or None if nothing comes in time. Every connection begins with a Hello.

        Raises SourceError or ProtocolError if it is useless to go on.
        """
        item = self._items.get(timeout_s)
        if self._items.error is not None:
            raise self._items.error
        return item

    # --- in its own thread -------------------------------------------------------------------------------------------

    def _run(self) -> Items:
        delay_s = self._first_delay_s
        while not self._stop_requested.is_set():
            started = time.monotonic()
            try:
                yield from self._read_connection()
                return
            except (OSError, WebSocketException, ImportError, UnicodeError) as error:
                if self._history_s and isinstance(error, InvalidStatus) and error.response.status_code == BAD_REQUEST:
                    self._history_s = 0
                    continue
                if (reason := permanent_error(error, self._was_connected)) is not None:
                    raise SourceError(f"{self._address.label}: {reason}") from None
                if (problem := transient_error(error)) != self._reported_problem:
                    self._reported_problem = problem
                    yield SourceNotice(f"{self._address.label}: {problem}: trying again")
            if time.monotonic() - started > STABLE_CONNECTION_S:
                delay_s = self._first_delay_s
            self._stop_requested.wait(delay_s)
            delay_s = next_delay(delay_s)

    def _read_connection(self) -> Items:
        """Connect and yield messages until the client is closed. Raises what ends the connection before."""
        with connect(
            self._address.with_history(self._history_s).url,
            ssl=self._tls,
            additional_headers=self._headers,
            proxy=None if self._address.is_loopback else True,  # the system's
            compression=None,  # frames are small and must not wait
            open_timeout=OPEN_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_INTERVAL_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_MESSAGE_CHARS,
            logger=LOG,
        ) as connection:
            text = self._receive(connection, HELLO_TIMEOUT_S)
            if text is None:
                return
            hello = self._parse_hello(text)
            self._was_connected = True
            if self._reported_problem is not None:
                self._reported_problem = None
                yield SourceNotice(f"{self._address.label}: connected", is_problem=False)
            yield hello
            damage_reported = False
            while (text := self._receive(connection)) is not None:
                try:
                    message = parse(text)
                except ProtocolError as error:
                    if not damage_reported:
                        notice = f"{self._address.label}: message ignored: {error}"
                        yield SourceNotice(notice, is_problem=False)
                    damage_reported = True
                    continue
                if message is not None:
                    yield message

    def _parse_hello(self, text: str | bytes) -> Hello:
        try:
            message = parse(text)
        except ProtocolError as error:
            raise ProtocolError(f"{self._address.label}: not a streamtag server: {printable(str(error))}") from None
        if not isinstance(message, Hello):
            raise ProtocolError(f"{self._address.label}: not a streamtag server: it does not begin with a hello")
        return message

    def _receive(self, connection: ClientConnection, timeout_s: float = float("inf")) -> str | bytes | None:
        """Return the next message, or None if the client is closed."""
        deadline = time.monotonic() + timeout_s
        while not self._stop_requested.is_set():
            try:
                return connection.recv(timeout=POLL_INTERVAL_S)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise TimeoutError("the server says nothing") from None
        return None


def _tls_context(address: ServerAddress, ca: Path | None) -> ssl.SSLContext | None:
    if not address.is_secure:
        if ca is not None:
            raise SourceError(f"{address.label}: --ca is for wss:// addresses")
        return None
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "no certificate in it"
        raise SourceError(f"{ca}: {reason}") from None
