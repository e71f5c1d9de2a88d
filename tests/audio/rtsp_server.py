"""Servers in threads; and a small RTSP server for one sound: PCMU at 8 kHz, within the control connection."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import numpy as np

PACKET = 160  # samples, one byte each
Server = TypeVar("Server", bound=socketserver.BaseServer)


class RtspServer(socketserver.ThreadingTCPServer):
    """redirect: where DESCRIBE leads; None: it plays. connections: so far."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, seconds: float, redirect: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), RtspHandler)
        self.redirect = redirect
        self.connections = 0
        # a square wave at 440 Hz: 0x80 and 0x00 are the largest values of mu-law
        phase = np.arange(round(seconds * 8000)) * 440 / 8000 % 1
        self.payload = np.where(phase < 0.5, 0x90, 0x10).astype(np.uint8).tobytes()

    @property
    def address(self) -> str:
        return f"rtsp://127.0.0.1:{self.server_address[1]}/live"


class RtspHandler(socketserver.StreamRequestHandler):
    server: RtspServer

    def handle(self) -> None:
        self.server.connections += 1
        while line := self.rfile.readline():
            headers = {}
            while header := self.rfile.readline().strip():
                name, _, value = header.decode().partition(": ")
                headers[name] = value
            method = line.decode().split()[0]
            if method == "DESCRIBE" and self.server.redirect is not None:
                self._answer(headers, "302 Moved", f"Location: {self.server.redirect}\r\n")
            elif method == "DESCRIBE":
                sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\na=control:track\r\n"
                self._answer(headers, "200 OK", f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n", sdp)
            elif method == "SETUP":
                self._answer(headers, "200 OK", f"Transport: {headers['Transport']}\r\nSession: 1\r\n")
            else:
                self._answer(headers, "200 OK", "Session: 1\r\n")
            if method == "PLAY":
                self._play()
                return

    def _answer(self, headers: dict[str, str], status: str, more: str, body: str = "") -> None:
        self.wfile.write(f"RTSP/1.0 {status}\r\nCSeq: {headers['CSeq']}\r\n{more}\r\n{body}".encode())

    def _play(self) -> None:
        for number, start in enumerate(range(0, len(self.server.payload), PACKET)):
            part = self.server.payload[start : start + PACKET]
            packet = struct.pack(">BBHII", 0x80, 0, number, start, 7) + part
            self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)


@contextmanager
def running(server: Server) -> Iterator[Server]:
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def rtsp_server(seconds: float = 2.0, redirect: str | None = None) -> AbstractContextManager[RtspServer]:
    return running(RtspServer(seconds, redirect))
