"""A host on 127.0.0.1 that serves a folder, with faults on request."""

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
    """What is served, with which faults, and what was requested.

    `break_off`: bytes after which each answer ends. `claim`: a false Content-Length. `status_codes`: of the first
    requests. `tricks` by file name: whole (ranges are ignored), shifted (ranges begin a byte late), changing (each
    request finds a new version), nameless (no ETag), endless (no length), encoded (as if compressed), silent (no
    answer until the host closes), stalling (the same after the bytes of `break_off`).
    """

    folder: Path
    url: str = ""
    break_off: dict[str, int] = field(default_factory=dict)
    claim: dict[str, int] = field(default_factory=dict)
    status_codes: dict[str, list[int]] = field(default_factory=dict)
    tricks: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    requests: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # first bytes, by name
    sent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    closing: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def open(self) -> Iterator[FakeHost]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

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
        requested_range = re.match(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(requested_range[1]) if requested_range else 0
        self.requests[name].append(start)
        if "silent" in tricks:
            self.closing.wait(30)
            return
        if self.status_codes.get(name):
            request.send_error(self.status_codes[name].pop(0))
            return
        if not path.is_file():
            request.send_error(404)
            return
        content = path.read_bytes()
        tag = f'"{len(self.requests[name])}"' if "changing" in tricks else '"1"'
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
