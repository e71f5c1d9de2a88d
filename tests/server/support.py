"""What the tests of the server share: a server with its clients, messages, raw sockets."""

from __future__ import annotations

import http.client
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from streamtag.protocol.messages import Frame, Hello, Message
from streamtag.protocol.reader import parse
from streamtag.server.config import IngestConfig, ServerConfig
from streamtag.server.thread import ServerThread
from tests.server.fake_scheduler import FakeHandle, FakeScheduler

TIMEOUT_S = 30.0  # of a test that waits for something that should happen at once
TAGS = tuple(f"tag {index:02d}" for index in range(50))
HELLO = Hello("streamtag 0.1.0", "small", TAGS, 16000, 0.256, 0.512, 0.384, (0.5,) * len(TAGS))
GREETING = replace(HELLO, streams=())  # what a subscriber gets while there are no streams

UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13"
)


class LocalServer(ServerThread):
    """A server on a free port of this machine, and its clients. scheduler: gets the audio of its producers."""

    def __init__(self, clients: ExitStack, ingest: IngestConfig | None = None, **settings: Any) -> None:
        """clients: what closes them. settings: fields of ServerConfig."""
        super().__init__(ServerConfig(**{"port": 0, **settings}), HELLO, ingest)
        self.scheduler = FakeScheduler(self.publish_all)
        self._clients = clients
        if ingest is not None:
            self.attach(self.scheduler.real)

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    def connect(self, path: str = "/", **settings: Any) -> ClientConnection:
        """Open a WebSocket. settings: of the client."""
        url = self.address.replace("http", "ws", 1).rstrip("/") + path
        defaults = {"compression": None, "proxy": None, "ping_interval": None, "close_timeout": 0.2}
        client: ClientConnection = connect(url, **{**defaults, **settings})
        return self._clients.enter_context(client)

    def connect_slowly(self, path: str = "/", **settings: Any) -> ClientConnection:
        """Open a WebSocket whose kernel and library buffer little before it is read."""
        return self.connect(path, sock=self.open_socket(receive_buffer=4096), max_queue=1, **settings)

    def open_socket(self, request: str = "", receive_buffer: int | None = None) -> socket.socket:
        """Open a socket; with a request of "/path" it is a WebSocket after its handshake."""
        sock = self._clients.enter_context(socket.socket())
        sock.settimeout(TIMEOUT_S)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(("127.0.0.1", self.port))
        if request:
            sock.sendall(f"GET {request} HTTP/1.1\r\nHost: 127.0.0.1\r\n{UPGRADE}\r\n\r\n".encode())
            assert sock.recv(12) == b"HTTP/1.1 101"
        return sock

    def shake_hands(self, path: str = "/", **settings: Any) -> tuple[int, str, str]:
        """Return status, text and Retry-After of a handshake; a connection that it opens is closed."""
        try:
            self.connect(path, **settings).close()
        except InvalidStatus as refused:
            answer = refused.response
            return answer.status_code, answer.body.decode().rstrip("\n"), answer.headers.get("Retry-After", "")
        return 101, "", ""

    def get(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, str]:
        """Return the response to a plain HTTP request, and its body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return response, response.read().decode()
        finally:
            connection.close()

    def counter(self, name: str) -> float:
        """Return what /metrics says, 0 where it says nothing."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"streamtag_{name}"))

    def handle(self, name: str) -> FakeHandle:
        """Return the scheduler's end of a producer, once it has opened its stream."""
        wait_until(lambda: name in self.scheduler.handles)
        return self.scheduler.handles[name]


Start = Callable[..., LocalServer]


def make_frame(number: int, stream: str = "mic", **others: Any) -> Frame:
    """Return frame `number` with all tags, about 1 kB of JSON."""
    start = 0.256 * number - 0.256
    tags = {tag: (index * 7 + number) % 100 / 100 for index, tag in enumerate(TAGS)}
    return Frame(stream, number, start, start + 0.512, tags, **others)


def wait_until(is_true: Callable[[], bool]) -> None:
    """Fail if it does not become true."""
    deadline = time.monotonic() + TIMEOUT_S
    while not is_true():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.005)


def read(client: ClientConnection) -> Message:
    """Return its next message."""
    message = parse(client.recv(timeout=TIMEOUT_S))
    assert message is not None
    return message


def read_all(client: ClientConnection) -> list[Message]:
    """Return all messages until the connection is closed."""
    messages = []
    while True:
        try:
            messages.append(read(client))
        except ConnectionClosed:
            return messages


def is_closed(sock: socket.socket) -> bool:
    """Read to the end of the connection. Return False if the socket's timeout comes first."""
    try:
        while sock.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def masked(opcode: int, data: bytes) -> bytes:
    """Return a frame of a client; opcode: the first byte. The mask of zeros leaves the data unchanged."""
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack("!H", len(data))
    return bytes([opcode]) + length + bytes(4) + data
