"""A subscriber's end of a streamtag server: messages as they come, for ever."""

from __future__ import annotations

import logging
import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from streamtag.audio.backoff import FIRST_DELAY_S, next_delay
from streamtag.audio.source import SourceNotice
from streamtag.client.address import ServerAddress
from streamtag.client.retry import permanent_error, transient_error
from streamtag.errors import ProtocolError, SourceError, StreamtagError
from streamtag.protocol.messages import Hello, Message
from streamtag.protocol.reader import MAX_MESSAGE_CHARS, parse
from streamtag.text import printable

OPEN_S, HELLO_S = 5.0, 10.0  # for a connection, and for the server's first word
PING_S = 10.0  # how often the server is asked whether it is still there, and how long for an answer
WAIT_S = 0.25  # how soon the thread notices that nobody wants it any more
LEAVE_S = 2.0
WAITING = 256  # messages that nobody took yet; then the server's own queue fills, and it drops the oldest frames
SOUND_S = 10.0  # a connection that held so long was a good one: pauses begin anew
QUIET = logging.getLogger("streamtag.subscription")  # what happens to a connection is told as a Notice
QUIET.addHandler(logging.NullHandler())


def pauses() -> Iterator[float]:
    """Between two tries, s: half a second, doubled up to ten, then ten for ever."""
    pause = FIRST_DELAY_S
    while True:
        yield pause
        pause = next_delay(pause)


class SubscriberClient:
    """Connects in a thread of its own, and again whenever the connection breaks. A context manager.

    What can only be a mistake (a wrong token, another kind of server) is raised by `read`; what may pass is told as
    a Notice, once, until it has passed.
    """

    def __init__(
        self,
        address: ServerAddress,
        token: str | None = None,
        ca: Path | None = None,
        pauses: Callable[[], Iterator[float]] = pauses,
    ) -> None:
        """ca: a certificate to trust, in place of the system's. Raises SourceError if it cannot be."""
        self._address = address
        self._headers = {} if token is None else {"Authorization": f"Bearer {_checked(token)}"}
        self._tls = _tls(address, ca)
        self._pauses = pauses
        self._queue: queue.Queue[Message | SourceNotice | StreamtagError] = queue.Queue(WAITING)
        self._unwanted = threading.Event()
        self._known = False  # it was a streamtag server at least once
        self._told: str | None = None  # what is wrong at present
        self._thread = threading.Thread(target=self._run, name="streamtag-subscription", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unwanted.set()
        self._thread.join(LEAVE_S)  # one that still waits for an answer ends by itself

    def read(self, timeout_s: float) -> Message | SourceNotice | None:
        """What comes next: a Hello at the start of each connection. None: nothing came for so long.

        Raises SourceError or ProtocolError if it is no use to go on.
        """
        try:
            arrival = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(arrival, StreamtagError):
            raise arrival
        return arrival

    # --- in its own thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        tries = self._pauses()
        while not self._unwanted.is_set():
            began = time.monotonic()
            try:
                self._connected()
                return
            except StreamtagError as error:
                self._hand_on(error)
                return
            except (OSError, WebSocketException, ImportError) as error:
                if (why := permanent_error(error, self._known)) is not None:
                    self._hand_on(SourceError(f"{self._address.label}: {why}"))
                    return
                self._tell_trouble(transient_error(error))
            if time.monotonic() - began > SOUND_S:
                tries = self._pauses()
            self._unwanted.wait(next(tries))

    def _connected(self) -> None:
        with connect(
            self._address.url,
            ssl=self._tls,
            additional_headers=self._headers,
            proxy=None if self._address.is_loopback else True,  # the system's
            compression=None,  # frames are small, and soon
            open_timeout=OPEN_S,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            close_timeout=1,
            max_size=MAX_MESSAGE_CHARS,
            logger=QUIET,
        ) as connection:
            hello = self._greeting(connection)
            if hello is None:
                return
            self._known = True
            if self._told is not None:
                self._told = None
                self._hand_on(SourceNotice(f"{self._address.label}: connected", is_problem=False))
            self._hand_on(hello)
            damaged = False
            while (line := self._received(connection)) is not None:
                try:
                    message = parse(line)
                except ProtocolError as error:
                    if not damaged:
                        self._hand_on(SourceNotice(f"{self._address.label}: passed over: {error}", is_problem=False))
                    damaged = True
                    continue
                if message is not None:
                    self._hand_on(message)

    def _greeting(self, connection: ClientConnection) -> Hello | None:
        """The first message; None if nobody wants it any more. Raises ProtocolError if it is no hello."""
        deadline = time.monotonic() + HELLO_S
        while not self._unwanted.is_set():
            try:
                line = connection.recv(timeout=WAIT_S)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise TimeoutError("the server says nothing") from None
                continue
            try:
                message = parse(line)
            except ProtocolError as error:
                raise ProtocolError(f"{self._address.label}: not a streamtag server: {printable(str(error))}") from None
            if not isinstance(message, Hello):
                raise ProtocolError(f"{self._address.label}: not a streamtag server: it does not begin with a hello")
            return message
        return None

    def _received(self, connection: ClientConnection) -> str | bytes | None:
        """The next message; None if nobody wants it any more."""
        while not self._unwanted.is_set():
            try:
                return connection.recv(timeout=WAIT_S)
            except TimeoutError:
                continue
        return None

    def _hand_on(self, arrival: Message | SourceNotice | StreamtagError) -> None:
        while not self._unwanted.is_set():
            try:
                self._queue.put(arrival, timeout=WAIT_S)
                return
            except queue.Full:
                continue

    def _tell_trouble(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            self._hand_on(SourceNotice(f"{self._address.label}: {reason}: trying again"))


def _checked(token: str) -> str:
    if not (token.isascii() and token.isprintable()):
        raise SourceError("a token is printable ASCII")
    return token


def _tls(address: ServerAddress, ca: Path | None) -> ssl.SSLContext | None:
    if not address.is_secure:
        if ca is not None:
            raise SourceError(f"{address.label}: --ca is for wss:// addresses")
        return None
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "no certificate in it"
        raise SourceError(f"{ca}: {reason}") from None
