"""Whatever a client sends, other subscribers get their messages."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from websockets.sync.client import ClientConnection

from streamtag.protocol.messages import Error
from streamtag.server.limiter import MAX_PENDING
from tests.server.support import TIMEOUT_S, UPGRADE, LocalServer, Start, is_closed, masked, read, read_all, wait_until

PING = masked(0x89, bytes(125))


def _still_served(server: LocalServer, listener: ClientConnection) -> bool:
    server.publish(Error("still here"))
    return read(listener) == Error("still here")


@pytest.mark.parametrize(
    ("message", "code"), [("hello?", 1008), (b"\0" * 100, 1008), ("", 1008), ("x" * 201, 1009), (b"\0" * 10**6, 1009)]
)
def test_a_subscriber_that_sends_a_message_is_closed(start: Start, message: str | bytes, code: int) -> None:
    server = start(max_message_bytes=200)
    sender, listener = server.connect(), server.connect()
    assert read(sender) == read(listener)
    sender.send(message)
    assert read_all(sender) == []
    assert sender.close_code == code
    assert _still_served(server, listener)


def test_a_subscriber_that_answers_no_ping_is_closed(start: Start) -> None:
    server = start(ping_interval_s=0.1, ping_timeout_s=0.5)
    client, dead = server.connect(), server.open_socket("/")
    assert is_closed(dead)
    wait_until(lambda: server.subscribers == 1)
    read(client)  # the other one has answered, and is answered
    assert client.ping().wait(TIMEOUT_S)
    assert _still_served(server, client)


def test_a_client_that_pings_and_never_reads_is_not_read_from(start: Start) -> None:
    server = start(stall_timeout_s=1)
    listener, sock = server.connect(), server.open_socket("/", receive_buffer=4096)
    read(listener)
    sock.settimeout(0.5)
    sent = 0
    with suppress(OSError):  # nothing more is read: the answers would only pile up
        while sent < 64 << 20:
            sent += sock.send(PING * 1000)
    assert sent < 32 << 20  # what the kernel's own buffers hold, a few MB
    assert _still_served(server, listener)


def test_the_oldest_silent_connections_make_room_for_new_ones(start: Start) -> None:
    server = start(max_clients=10)
    before = server.connect()
    read(before)
    room = 10 + MAX_PENDING
    silent = [server.open_socket() for _ in range(room + 100)]
    for sock in silent[:100]:
        assert is_closed(sock)  # the oldest go first
    assert read(server.connect()) is not None
    assert server.counter('refused_connections_total{reason="waiting"}') >= 100
    silent[-1].settimeout(0.1)
    assert not is_closed(silent[-1])
    assert _still_served(server, before)


def test_as_many_clients_as_may_subscribe_may_connect_at_once(start: Start) -> None:
    server = start(max_clients=200)
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{UPGRADE}\r\n\r\n".encode()
    sockets = [server.open_socket() for _ in range(200)]  # as after a restart: all are there before one has asked
    for sock in sockets:
        sock.sendall(request)
    assert [sock.recv(12) for sock in sockets] == [b"HTTP/1.1 101"] * 200
    wait_until(lambda: server.subscribers == 200)


def test_a_request_head_that_is_too_long_ends_its_connection(server: LocalServer) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 4000) for number in range(20))
    sock = server.open_socket()
    sock.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lines[:20_000] + b"\r\n\r\n")
    assert sock.recv(12) == b"HTTP/1.1 200"
    sock = server.open_socket()
    with suppress(OSError):
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lines + b"\r\n")
    with suppress(ConnectionResetError):
        assert sock.recv(12) == b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n0123456789",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(400),  # TLS to a server without
        b"\r\n" * 1000,
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n",  # and no end
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",  # no key
    ],
)
def test_a_malformed_or_incomplete_request_ends_its_connection(start: Start, request_bytes: bytes) -> None:
    server = start(open_timeout_s=0.3)
    listener, sock = server.connect(), server.open_socket()
    read(listener)
    sock.sendall(request_bytes)
    assert is_closed(sock)
    assert _still_served(server, listener)


@pytest.mark.parametrize(
    "data",
    [
        masked(0xC1, b"hello"),  # a reserved bit
        masked(0x83, b"hello"),  # a reserved kind
        b"\x81\x05hello",  # not masked
        masked(0x89, bytes(256)),  # a ping that is too long
        b"\x81\xff" + struct.pack("!Q", 1 << 62) + bytes(4),  # a text of four exabytes
        masked(0x80, b""),  # goes on with what never began
        masked(0x88, b"x"),  # half a close code
        masked(0x81, b"\xff\xfe"),  # a text that is no UTF-8
        masked(0x88, b"\x03\xe8"),  # a close, properly, by one who then does not hang up
    ],
)
def test_a_malformed_frame_ends_its_connection(start: Start, data: bytes) -> None:
    server = start(close_timeout_s=0.2)
    listener, sock = server.connect(), server.open_socket("/")
    read(listener)
    wait_until(lambda: server.subscribers == 2)
    sock.sendall(data)
    assert is_closed(sock)
    wait_until(lambda: server.subscribers == 1)
    assert _still_served(server, listener)


def test_subscribers_beyond_the_limit_are_refused_until_one_leaves(start: Start) -> None:
    server = start(max_clients=3)
    clients = [server.connect() for _ in range(3)]
    status, _, retry = server.shake_hands()
    assert status == 503
    assert int(retry) > 0
    assert server.counter('refused_connections_total{reason="full"}') == 1  # and the counters can still be read
    clients[0].close()
    wait_until(lambda: server.subscribers == 2)
    assert read(server.connect()) is not None
