"""A server that shows the page and connections sound, with every refusal and mishap that a test wants of it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from streamtag.protocol.messages import End, Hello, Message

HOP = 4096 / 16000  # s
SUMMARY = {"guitar": 0.81, "drums": 0.4, "piano": 0.12}


@dataclass
class ProducerConnection:
    """One connection of a producer. pcm: the bytes received; sent_end: the producer ended its stream."""

    name: str
    query: Mapping[str, str]
    pcm: bytearray = field(default_factory=bytearray)
    sent_end: bool = False
    closed: threading.Event = field(default_factory=threading.Event)
    messages: int = 0

    @property
    def rate(self) -> int:
        return int(self.query["rate"])

    @property
    def sound(self) -> NDArray[np.float64]:
        return np.frombuffer(bytes(self.pcm[: len(self.pcm) // 2 * 2]), "<i2").astype(np.float64) / 32768


class IngestStub:
    """A context manager. Each stream gets as many frames as its audio has hops, with the same tags in all.

    refusals: statuses for the next handshakes of producers, in order. health: the answer to /health. positions: by
    name, where a stream that the server keeps would continue. reading: while it is not set, nothing is read from any
    producer; it is cleared once a connection has received `hold_after` bytes.
    """

    def __init__(self, hello: Hello, page_of: str, make_frame: Callable[..., Message], **health: Any) -> None:
        """page_of: the address of a server whose page and policy are served."""
        self.health = {"status": "ready", "capacity": 8, "room": 8, "retry_after_s": None, "streams": {}} | health
        self.refusals: list[HTTPStatus] = []
        self.positions: dict[str, int] = {}
        self.connections: list[ProducerConnection] = []
        self.hold_after: int | None = None
        self.reading = threading.Event()
        self.reading.set()
        self._hello, self._page_of, self._make_frame = hello, page_of, make_frame
        self._subscribers: list[ServerConnection] = []
        self._producers: list[ServerConnection] = []
        self._changed = threading.Condition()
        self._stack = ExitStack()
        self._server: Server | None = None

    def __enter__(self) -> Self:
        self._server = serve(self._attend, "127.0.0.1", 0, process_request=self._decide, compression=None, max_queue=2)
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(self._server.shutdown)
        self._stack.callback(self.cut)
        self._stack.callback(self.reading.set)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for subscriber in list(self._subscribers):
            subscriber.close()
        self._stack.close()

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.socket.getsockname()[1]}/"

    def wait_for(self, count: int, timeout_s: float = 20) -> ProducerConnection:
        """Return connection number `count` of a producer, counted from 1, once it exists."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.connections) >= count, timeout_s), (
                f"{len(self.connections)} connections"
            )
            return self.connections[count - 1]

    def wait_until(self, true: Callable[[], bool], timeout_s: float = 20) -> None:
        with self._changed:
            assert self._changed.wait_for(true, timeout_s)

    def cut(self) -> None:
        """Break the connections of all producers, as when a cable is unplugged."""
        for producer in list(self._producers):
            with suppress(OSError):  # it may have ended by now
                producer.socket.shutdown(socket.SHUT_RDWR)

    def close(self, code: int, reason: str) -> None:
        for producer in list(self._producers):
            producer.close(code, reason)

    def publish(self, message: Message) -> None:
        for subscriber in list(self._subscribers):
            with suppress(ConnectionClosed):
                subscriber.send(message.to_json())

    def _decide(self, _: ServerConnection, request: Request) -> Response | None:
        path = urlsplit(request.path).path
        socket_wanted = "websocket" in request.headers.get("Upgrade", "").lower()
        if path.startswith("/ingest/") and self.refusals:
            status = self.refusals[0]
            if not socket_wanted:
                self.refusals.pop(0)  # the page asks a second time to learn the reason
            return _answer(status, f"{status.phrase}, says the stub\n", "text/plain", Retry_After="1")
        if socket_wanted:
            return None
        if path == "/health":
            return _answer(HTTPStatus.OK, json.dumps(self.health), "application/json")
        if path == "/" or path.endswith((".css", ".js")):
            with urlopen(self._page_of.rstrip("/") + path) as page:
                own, theirs = urlsplit(self.address).netloc, urlsplit(self._page_of).netloc
                policy = page.headers["Content-Security-Policy"].replace(theirs, own)
                kind = page.headers.get_content_type()
                return _answer(HTTPStatus.OK, page.read().decode(), kind, Content_Security_Policy=policy)
        return _answer(HTTPStatus.NOT_FOUND, "nothing\n", "text/plain")

    def _attend(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        target = urlsplit(connection.request.path)
        connection.send(self._hello.to_json())
        if not target.path.startswith("/ingest/"):
            self._subscribers.append(connection)
            for _ in connection:
                pass
            return
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        producer = ProducerConnection(unquote(target.path.removeprefix("/ingest/"), errors="strict"), query)
        self._producers.append(connection)
        try:
            with suppress(ConnectionClosed):
                self._receive(connection, producer)
        finally:
            self._producers.remove(connection)
            producer.closed.set()
            self._note()

    def _receive(self, connection: ServerConnection, producer: ProducerConnection) -> None:
        position = self.positions.get(producer.name, int(producer.query["position"]))
        connection.send(json.dumps({"type": "ready", "stream": producer.name, "position": position}))
        with self._changed:
            self.connections.append(producer)
            self._changed.notify_all()
        frames = round(int(producer.query["position"]) / producer.rate / HOP)
        while True:
            self.reading.wait()
            data = connection.recv()
            if isinstance(data, bytes):
                producer.pcm += data
                producer.messages += 1
                if self.hold_after is not None and len(producer.pcm) >= self.hold_after:
                    self.hold_after = None
                    self.reading.clear()
                self._note()
            else:
                assert json.loads(data) == {"type": "end"}
                producer.sent_end = True
            received_s = (int(producer.query["position"]) + len(producer.pcm) // 2) / producer.rate
            while frames * HOP + 0.384 < received_s or (producer.sent_end and frames * HOP < received_s):
                self._send(connection, self._make_frame(frames, producer.name, guitar=0.81, drums=0.4, piano=0.12))
                frames += 1
            if producer.sent_end:
                self._send(connection, End(producer.name, received_s, frames, SUMMARY))
                connection.close()
                return

    def _send(self, connection: ServerConnection, message: Message) -> None:
        self.publish(message)
        connection.send(message.to_json())

    def _note(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _answer(status: HTTPStatus, text: str, kind: str, **headers: str) -> Response:
    body = text.encode()
    fields = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body)), "Connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status.value, status.phrase, Headers(fields), body)
