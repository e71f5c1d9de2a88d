"""WebSocket connections on an asyncio transport, by the sans-I/O protocol of `websockets`.

Everything is a callback: a connection needs no task, so a message from the hub to a socket is one function call.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple, cast

from websockets.frames import DATA_OPCODES, CloseCode, Frame
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from streamtag.server.config import ServerConfig

MAX_HEAD_BYTES = 32768  # of a request; those of a browser with all its cookies are shorter
MAX_UNSENT_BYTES = 65536  # of answers to pings that wait for a producer's socket
SEND_BUFFER_BYTES = 16384  # in the kernel: small, so that one who does not read is noticed soon
HIGH_WATER, LOW_WATER = 1, 0  # bytes: writing pauses until the kernel has taken everything


class CloseReason(NamedTuple):
    """The close frame that ends a connection."""

    code: CloseCode
    text: str


SERVER_CLOSING = CloseReason(CloseCode.GOING_AWAY, "the server ends")


class Handler:
    """Base of what handles an open connection; its methods are called by the event loop.

    max_message_bytes: of one received message. reads_while_blocked: messages are read although the other side does not
    read its own.
    """

    max_message_bytes: int
    reads_while_blocked = False

    def on_open(self) -> None:
        """The handshake is complete."""

    def on_data(self, frame: Frame) -> None:
        """A message, or a part of one, was received."""

    def on_blocked(self) -> None:
        """Sending has to pause until on_writable."""

    def on_writable(self) -> None:
        """The kernel has taken everything that was sent."""

    def on_close(self) -> None:
        """The connection is gone. Called once."""

    def finish(self, reason: CloseReason = SERVER_CLOSING) -> None:
        """Close the connection when everything that waits is sent."""

    def abandon(self, reason: CloseReason = SERVER_CLOSING) -> None:
        """Close the connection now, whatever waits."""


class Connection(asyncio.Protocol):
    """One TCP connection: a plain HTTP request, or a WebSocket with a handler."""

    def __init__(
        self,
        config: ServerConfig,
        log: logging.Logger,
        on_connect: Callable[[Connection], None],
        on_request: Callable[[Connection, Request], None],
        on_disconnect: Callable[[Connection], None],
    ) -> None:
        """on_request: must lead to `respond` or `accept`, at once or later."""
        self.is_writable = True
        self._config = config
        self._log = log
        self._on_connect, self._on_request, self._on_disconnect = on_connect, on_request, on_disconnect
        self._loop = asyncio.get_running_loop()
        self._protocol = ServerProtocol(max_size=config.max_message_bytes, logger=log)
        self._transport: asyncio.Transport  # from connection_made on
        self._is_connected = False
        self.handler: Handler | None = None
        self._head = bytearray()
        self._has_request = False
        self._last_sign_of_life = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None  # for opening, then for pings, then for closing
        self._is_closing = False

    @property
    def address(self) -> str:
        """The IP address of the other side; empty if it is gone already."""
        peer = self._transport.get_extra_info("peername")
        return str(peer[0]) if peer else ""

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were sent and that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def respond(self, response: Response) -> None:
        """Answer the request and close the connection."""
        if self._protocol.state is State.CONNECTING and not self._is_closing:
            self._protocol.send_response(response)
            self._flush()

    def accept(self, request: Request, handler_factory: Callable[[], Handler]) -> None:
        """Complete the WebSocket handshake. The factory is called only if it succeeds; what it raises is passed on."""
        response = self._protocol.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self.respond(response)
            return
        handler = self.handler = handler_factory()
        self._protocol.send_response(response)
        self._flush()
        self._protocol = ServerProtocol(state=State.OPEN, max_size=handler.max_message_bytes, logger=self._log)
        self._set_buffer(socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if handler.reads_while_blocked:  # what it sends is its sign of life; it may be too busy sending to answer
            self._cancel_timer()
        else:
            self._start_timer(self._config.ping_interval_s, self._ping)
        handler.on_open()

    def send(self, texts: Sequence[bytes]) -> None:
        """Send several messages with one system call. They wait in memory if the kernel has no room."""
        if self._protocol.state is State.OPEN:
            for text in texts:
                self._protocol.send_text(text)
            self._flush()

    def close(self, reason: CloseReason) -> None:
        """Send a close frame; the connection is aborted if the other side does not close it in time."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(reason.code, reason.text)
            self._flush()
            self.resume_reading()

    def abort(self) -> None:
        self._transport.abort()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def limit_receive_buffer(self, size: int) -> None:
        self._set_buffer(socket.SO_RCVBUF, size)

    # --- callbacks of asyncio ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # TLS pauses writing here while the end of its handshake waits. It sends that by reading, so go on with it.
        self._transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        self._is_connected = True
        self._start_timer(self._config.open_timeout_s, self.abort)
        self._on_connect(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._cancel_timer()
        self._on_disconnect(self)
        self._is_closing = True
        if self.handler is not None:
            self.handler.on_close()

    def data_received(self, data: bytes) -> None:
        self._last_sign_of_life = self._loop.time()
        if self.handler is None:
            if self._has_request:
                return  # a body, or what comes while the answer is awaited
            data = self._receive_head(data)
        if data and self.handler is not None:
            self._receive_frames(self.handler, data)

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._flush()

    # Pings are answered without waiting for the socket. A client that sends them and never reads the answers would fill
    # the memory, so nothing is read from it while something waits to be sent. A producer is read from all the same: it
    # is cut off when too much waits.

    def pause_writing(self) -> None:
        self.is_writable = False
        if not self._is_connected:
            return
        if self.handler is None or not self.handler.reads_while_blocked:
            self._transport.pause_reading()
        if self.handler is not None:
            self.handler.on_blocked()

    def resume_writing(self) -> None:
        self.is_writable = True
        self._last_sign_of_life = self._loop.time()
        if self._is_connected and (self.handler is None or not self.handler.reads_while_blocked):
            self._transport.resume_reading()
        if self.handler is not None:
            self.handler.on_writable()

    # --- internal ----------------------------------------------------------------------------------------------------

    def _receive_head(self, data: bytes) -> bytes:
        """Give the protocol the request. Return the bytes after it, which are already WebSocket frames."""
        start = max(0, len(self._head) - 3)
        before = len(self._head)
        self._head += data
        end = self._head.find(b"\r\n\r\n", start)
        size = len(data) if end < 0 else end + 4 - before
        if before + size > MAX_HEAD_BYTES:
            self.abort()
            return b""
        self._protocol.receive_data(data[:size])
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._has_request = True
                self._on_request(self, event)
        self._flush()
        return data[size:]

    def _receive_frames(self, handler: Handler, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
                handler.on_data(event)
        self._flush()
        if handler.reads_while_blocked and self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.abort()

    def _flush(self) -> None:
        """Write what the protocol has to send, and end the connection when the protocol does."""
        transport = self._transport
        chunks = self._protocol.data_to_send()
        if chunks and not transport.is_closing():
            transport.write(b"".join(chunks))
            if not chunks[-1]:  # the mark of the end
                if transport.can_write_eof():
                    with suppress(OSError):  # the other side may have gone
                        transport.write_eof()
                else:
                    transport.close()
        if self._protocol.state is State.CLOSING and not self._is_closing:
            self._is_closing = True
            self._start_timer(self._config.close_timeout_s, self.abort)

    def _ping(self) -> None:
        if self._loop.time() - self._last_sign_of_life > self._config.ping_timeout_s:
            self.abort()
        elif self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._flush()
            self._start_timer(self._config.ping_interval_s, self._ping)

    def _set_buffer(self, option: int, size: int) -> None:
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, option, size)

    def _start_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, callback)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
