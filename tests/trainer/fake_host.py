"""A host on 127.0.0.1 that serves a folder, well or badly."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class FakeHost:
    """What is served, how, and what was asked for.

    How, by file name: break_off, after so many bytes of each answer; claim, a Content-Length that is not true; say,
    status codes for the first requests; whole, ranges are ignored; shifted, ranges begin a byte late; changing, every
    request finds a new version; nameless, no ETag; endless, no Content-Length; encoded, as if compressed; silent, no
    answer until the host closes; stalling, the same after the bytes of break_off.
    """

    folder: Path
    url: str = ""
    break_off: dict[str, int] = field(default_factory=dict)
    claim: dict[str, int] = field(default_factory=dict)
    say: dict[str, list[int]] = field(default_factory=dict)
    tricks: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    asked: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # first bytes, by name
    sent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    closing: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def open(self) -> Iterator[FakeHost]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_port}/"
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield self
            finally:
                self.closing.set()
                server.shutdown()
                thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.strip("/")
        path, tricks = self.folder / name, self.tricks[name]
        wanted = re.match(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        self.asked[name].append(start)
        if "silent" in tricks:
            self.closing.wait(30)
            return
        if self.say.get(name):
            request.send_error(self.say[name].pop(0))
            return
        if not path.is_file():
            request.send_error(404)
            return
        content = path.read_bytes()
        tag = f'"{len(self.asked[name])}"' if "changing" in tricks else '"1"'
        if "whole" in tricks or request.headers.get("If-Range", tag) != tag:
            start = 0
        if start >= len(content) > 0:
            request.send_error(416)
            return
        body = content[start:]
        request.send_response(206 if start else 200)
        if start:
            first = start + ("shifted" in tricks)
            request.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if "nameless" not in tricks:
            request.send_header("ETag", tag)
        if "encoded" in tricks:
            request.send_header("Content-Encoding", "gzip")
        if "endless" not in tricks:
            request.send_header("Content-Length", str(self.claim.get(name, len(body))))
        request.end_headers()
        body = body[: self.break_off.get(name, len(body))]
        self.sent[name] += len(body)
        request.wfile.write(body)
        if "stalling" in tricks:
            self.closing.wait(30)
        request.close_connection = True
