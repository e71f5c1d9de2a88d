"""Servers on free ports of this machine, and clients that are closed after the test."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_client

from streamtag.server.config import IngestConfig, ServerConfig
from streamtag.server.thread import ServerThread
from tests.server.fake_scheduler import FakeScheduler
from tests.server.support import HELLO, TIMEOUT_S, UPGRADE, Connect, OpenSocket, Start


@pytest.fixture(autouse=True)
def no_logged_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The server does not log what goes wrong with one connection; an error that it logs is a defect of its own."""
    yield
    records = [*caplog.get_records("call"), *caplog.get_records("teardown")]
    assert [record.getMessage() for record in records if record.levelno >= logging.ERROR] == []


@pytest.fixture
def start() -> Iterator[Start]:
    """start(ingest=None, **fields of ServerConfig) -> a server that runs until the test ends."""
    with ExitStack() as servers:

        def start(ingest: IngestConfig | None = None, **settings: Any) -> ServerThread:
            return servers.enter_context(ServerThread(ServerConfig(**{"port": 0, **settings}), HELLO, ingest))

        yield start


@pytest.fixture
def scheduler() -> FakeScheduler:
    """The scheduler behind the server of `start_ingest`."""
    return FakeScheduler()


@pytest.fixture
def start_ingest(start: Start, scheduler: FakeScheduler) -> Start:
    """start_ingest(IngestConfig(), **fields of ServerConfig) -> a server that accepts audio, until the test ends."""

    def start_ingest(ingest: IngestConfig | None = None, **settings: Any) -> ServerThread:
        server = start(ingest or IngestConfig(), **settings)
        scheduler.publish = server.publish_all
        server.attach(scheduler.real)
        return server

    return start_ingest


@pytest.fixture
def connect() -> Iterator[Connect]:
    """connect(server, "/path?parameters", **of the client) -> a WebSocket."""
    with ExitStack() as clients:

        def connect(server: ServerThread, path: str = "/", **settings: Any) -> ClientConnection:
            url = server.address.replace("http", "ws", 1).rstrip("/") + path
            defaults = {"compression": None, "proxy": None, "ping_interval": None, "close_timeout": 0.2}
            client: ClientConnection = connect_client(url, **{**defaults, **settings})
            return clients.enter_context(client)

        yield connect


@pytest.fixture
def open_socket() -> Iterator[OpenSocket]:
    """open_socket(server, request="") -> a socket; with a request of "/path", a WebSocket after its handshake."""
    with ExitStack() as sockets:

        def open_socket(server: ServerThread, request: str = "", receive_buffer: int | None = None) -> socket.socket:
            sock = sockets.enter_context(socket.socket())
            sock.settimeout(TIMEOUT_S)
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            url = urlsplit(server.address)
            sock.connect((url.hostname, url.port))
            if request:
                sock.sendall(f"GET {request} HTTP/1.1\r\nHost: {url.netloc}\r\n{UPGRADE}\r\n\r\n".encode())
                assert sock.recv(12) == b"HTTP/1.1 101"
            return sock

        yield open_socket
