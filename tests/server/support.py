"""What the tests of the server share: messages, requests, raw sockets."""

from __future__ import annotations

import http.client
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from streamtag.protocol.messages import Frame, Hello, Message
from streamtag.protocol.reader import parse
from streamtag.server.thread import ServerThread

TIMEOUT_S = 30.0  # of a test that waits for something that should happen at once
TAGS = tuple(f"tag {index:02d}" for index in range(50))
HELLO = Hello("streamtag 0.1.0", "small", TAGS, 16000, 0.256, 0.512, 0.384, (0.5,) * len(TAGS))
GREETING = replace(HELLO, streams=())  # what a subscriber gets while there are no streams

UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13"
)

Start = Callable[..., ServerThread]
Connect = Callable[..., ClientConnection]
OpenSocket = Callable[..., socket.socket]


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


def shake_hands(connect: Connect, server: ServerThread, path: str = "/", **settings: Any) -> tuple[int, str, str]:
    """Return status, text and Retry-After of a handshake; a connection that it opens is closed."""
    try:
        connect(server, path, **settings).close()
    except InvalidStatus as refused:
        answer = refused.response
        return answer.status_code, answer.body.decode().rstrip("\n"), answer.headers.get("Retry-After", "")
    return 101, "", ""


def http_get(
    server: ServerThread, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, str]:
    """Return the response and its body."""
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response, response.read().decode()
    finally:
        connection.close()


def read_counter(server: ServerThread, name: str) -> float:
    """Return what /metrics says, 0 where it says nothing."""
    lines = http_get(server, "/metrics")[1].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"streamtag_{name}"))


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
