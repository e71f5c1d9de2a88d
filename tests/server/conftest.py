"""Servers on free ports of this machine, and those who connect to them."""

from __future__ import annotations

import http.client
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_client

from streamtag.protocol.messages import Frame, Hello, Message
from streamtag.protocol.reader import parse
from streamtag.server.config import IngestConfig, ServerConfig
from streamtag.server.thread import ServerThread
from tests.server.fake_scheduler import FakeEngine

PATIENCE_S = 20.0  # of a test that waits for something that should happen at once
TAGS = tuple(f"tag {index:02d}" for index in range(50))
HELLO = Hello("streamtag 0.1.0", "small", TAGS, 16000, 0.256, 0.512, 0.384, (0.5,) * len(TAGS))

Start = Callable[..., ServerThread]
Connect = Callable[..., ClientConnection]
Ask = Callable[..., tuple[http.client.HTTPResponse, str]]


def _frame(number: int, stream: str = "mic", **others: Any) -> Frame:
    """Frame `number`, with all tags, about 1 kB."""
    start = 0.256 * number - 0.256
    tags = {tag: (index * 7 + number) % 100 / 100 for index, tag in enumerate(TAGS)}
    return Frame(stream, number, start, start + 0.512, tags, **others)


def _until(true: Callable[[], bool]) -> None:
    """Waits for it, and fails if it does not come."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def _read(client: ClientConnection) -> Message:
    message = parse(client.recv(timeout=PATIENCE_S))
    assert message is not None
    return message


@pytest.fixture
def hello() -> Hello:
    """What the servers say first."""
    return HELLO


@pytest.fixture
def make_frame() -> Callable[..., Frame]:
    """make_frame(number, stream="mic", **others) -> a frame."""
    return _frame


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """until(true): waits for it."""
    return _until


@pytest.fixture
def read() -> Callable[[ClientConnection], Message]:
    """read(client) -> its next message."""
    return _read


@pytest.fixture(autouse=True)
def no_defects(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The server keeps quiet about connections; what it logs as an error is a defect of its own."""
    yield
    records = [*caplog.get_records("call"), *caplog.get_records("teardown")]
    assert [record.getMessage() for record in records if record.levelno >= logging.ERROR] == []


@pytest.fixture
def start() -> Iterator[Start]:
    """start(**fields of ServeSpec) -> a server that runs until the test ends."""
    with ExitStack() as servers:

        def start(**settings: Any) -> ServerThread:
            return servers.enter_context(ServerThread(ServerConfig(**{"port": 0, **settings}), HELLO))

        yield start


@pytest.fixture
def engine() -> FakeEngine:
    """That hears what is sent to `start_intake`'s server."""
    return FakeEngine()


@pytest.fixture
def start_intake(engine: FakeEngine) -> Iterator[Start]:
    """start_intake(IngestSpec(), **fields of ServeSpec) -> a server that takes sound, until the test ends."""
    with ExitStack() as servers:

        def start(ingest: IngestConfig | None = None, **settings: Any) -> ServerThread:
            spec = ServerConfig(**{"port": 0, **settings})
            server = servers.enter_context(ServerThread(spec, HELLO, ingest or IngestConfig()))
            engine.tell = server.publish_all
            server.attach(engine.real)
            return server

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """connect(server, "/path?parameters", **of the client) -> a subscriber."""
    with ExitStack() as clients:

        def connect(server: ServerThread, path: str = "/", **settings: Any) -> ClientConnection:
            url = server.address.replace("http", "ws", 1).rstrip("/") + path
            quiet = {"compression": None, "proxy": None, "ping_interval": None, "close_timeout": 1}
            client: ClientConnection = connect_client(url, **{**quiet, **settings})
            return clients.enter_context(client)

        yield connect


@pytest.fixture
def rest() -> Callable[[ClientConnection], list[Message]]:
    """rest(client) -> all messages until the connection is closed."""

    def rest(client: ClientConnection) -> list[Message]:
        messages = []
        while True:
            try:
                messages.append(_read(client))
            except ConnectionClosed:
                return messages

    return rest


@pytest.fixture
def plug_in() -> Iterator[Callable[..., socket.socket]]:
    """plug_in(server, request="") -> a bare socket to it; a request of "/path" is that of a subscriber."""
    with ExitStack() as plugs:

        def plug_in(server: ServerThread, request: str = "", receive_buffer: int | None = None) -> socket.socket:
            plug = plugs.enter_context(socket.socket())
            plug.settimeout(PATIENCE_S)
            if receive_buffer is not None:
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            url = urlsplit(server.address)
            plug.connect((url.hostname, url.port))
            if request:
                key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13"
                upgrade = f"Upgrade: websocket\r\nConnection: Upgrade\r\n{key}"
                plug.sendall(f"GET {request} HTTP/1.1\r\nHost: {url.netloc}\r\n{upgrade}\r\n\r\n".encode())
                assert plug.recv(12) == b"HTTP/1.1 101"
            return plug

        yield plug_in


@pytest.fixture
def ask() -> Ask:
    """ask(server, "/health", method="GET", **headers) -> the answer and its body."""

    def ask(
        server: ServerThread, path: str, method: str = "GET", headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, str]:
        connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=PATIENCE_S)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer, answer.read().decode()
        finally:
            connection.close()

    return ask


@pytest.fixture
def count(ask: Ask) -> Callable[[ServerThread, str], float]:
    """count(server, "messages_sent") -> what /metrics says, 0 where it says nothing."""

    def count(server: ServerThread, name: str) -> float:
        lines = ask(server, "/metrics")[1].splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"streamtag_{name}"))

    return count
