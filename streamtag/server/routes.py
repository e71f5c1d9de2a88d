"""Answers to plain HTTP requests: the web page, /health and /metrics."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from streamtag.scheduler.stats import SchedulerStats
from streamtag.server.auth import AccessControl, HttpError
from streamtag.server.config import Origin
from streamtag.server.hub import Hub
from streamtag.server.metrics import Metrics
from streamtag.server.query import RequestTarget
from streamtag.text import join_address

STATIC, INDEX = "static", "index.html"
CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
HISTORY_PATH = "/api/history"
TEXT = "text/plain; charset=utf-8"
METHODS = ("GET", "HEAD")
Fields = Sequence[tuple[str, str]]
HEADERS: Fields = (
    ("Connection", "close"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),  # a page's address may contain the token
    ("X-Content-Type-Options", "nosniff"),
)
UNCACHED: Fields = (("Cache-Control", "no-store"),)
NO_CONTENT_POLICY: Fields = (("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),)


@dataclass(frozen=True)
class StaticFile:
    """A file of the web page. etag: changes with its content."""

    data: bytes
    content_type: str
    etag: str


class HttpRoutes:
    """Own the routes of plain HTTP. Belongs to the event loop; every response closes its connection."""

    def __init__(
        self,
        hub: Hub,
        metrics: Metrics,
        access: AccessControl,
        stats: Callable[[], SchedulerStats | None] | None = None,
        has_history: bool = False,
    ) -> None:
        """stats: of the scheduler, None while there is none; omitted for a server that accepts no audio.

        has_history: /api/history is answered, elsewhere.
        """
        self._hub = hub
        self._metrics = metrics
        self._access = access
        self._stats = stats
        self._has_history = has_history
        self._files = _static_files()

    def answer(self, request: Request, target: RequestTarget, own: Origin) -> Response:
        """Return the response; own: the origin that the request was sent to. Raises HttpError."""
        if request.method not in METHODS:
            text = "only GET and HEAD are supported"
            raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, "method", text, [("Allow", ", ".join(METHODS))])
        if target.path in self._files:
            response = _serve_file(self._files[target.path], request.headers, own)
        elif target.path == "/health":
            is_authorized = self._access.is_authorized(request.headers, target)
            response = respond(HTTPStatus.OK, json.dumps(self._health(is_authorized)) + "\n", "application/json")
        elif target.path == "/metrics":
            self._access.check_token(request.headers, target)
            response = respond(HTTPStatus.OK, self._metrics.page(), self._metrics.content_type)
        else:
            history = f"{HISTORY_PATH}, " if self._has_history else ""
            text = f"there are /, /streams/NAME, {history}/health and /metrics"
            raise HttpError(HTTPStatus.NOT_FOUND, "path", text)
        if request.method == "HEAD":
            response.body = b""  # its Content-Length is that of the response to GET
        return response

    def _health(self, is_authorized: bool) -> dict[str, Any]:
        """is_authorized: the client may subscribe, so it may see the names of the streams."""
        now = time.monotonic()
        any_frames = False
        streams = {}
        for name, stream in self._hub.streams:
            since_frame_s = None if stream.frame_time is None else round(now - stream.frame_time, 3)
            any_frames |= since_frame_s is not None
            streams[name] = {"since_frame_s": since_frame_s, "ended": stream.end is not None}
        health = {
            "status": "ready" if any_frames else "waiting",
            "version": self._hub.hello.server,
            "model": self._hub.hello.model,
            "subscribers": len(self._hub),
        }
        if self._has_history:
            health["history"] = True
        return health | self._ingest_health() | ({"streams": streams} if is_authorized else {})

    def _ingest_health(self) -> dict[str, Any]:
        """Return what producers need to know; nothing if no audio is accepted here."""
        if self._stats is None:
            return {}
        stats = self._stats()
        if stats is None:
            return {"status": "starting"}
        return {
            "status": "degraded" if stats.is_degraded else "ready",
            "capacity": stats.capacity,
            "room": stats.room,
            "retry_after_s": None if stats.room else round(stats.retry_after_s, 3),
            "running": stats.streams - stats.disconnected,
            "away": stats.disconnected,
            "lag_s": round(stats.lag_s, 3),
        }


def refuse(error: HttpError) -> Response:
    """Return the response to a request that is refused."""
    return respond(error.status, f"{error}\n", TEXT, (*UNCACHED, *NO_CONTENT_POLICY, *error.headers))


def respond(
    status: HTTPStatus, body: str | bytes, content_type: str, fields: Fields = (*UNCACHED, *NO_CONTENT_POLICY)
) -> Response:
    data = body.encode(errors="replace") if isinstance(body, str) else body
    entity = (("Date", formatdate(usegmt=True)), ("Content-Length", str(len(data))), ("Content-Type", content_type))
    return Response(status.value, status.phrase, Headers([*entity, *HEADERS, *fields]), data)


def _static_files() -> dict[str, StaticFile]:
    """Return the files of the web page by path; the page itself is /."""
    found = {}
    for file in files("streamtag.server").joinpath(STATIC).iterdir():
        content_type = CONTENT_TYPES.get(file.name.rpartition(".")[2])
        if content_type is not None:
            data = file.read_bytes()
            path = "/" if file.name == INDEX else f"/{file.name}"
            found[path] = StaticFile(data, content_type, f'"{hashlib.sha256(data).hexdigest()[:16]}"')
    return found


def _serve_file(file: StaticFile, headers: Headers, own: Origin) -> Response:
    """A browser may keep the file, but asks every time whether it is still current."""
    scheme = "wss" if own.scheme == "https" else "ws"
    socket = f"{scheme}://{join_address(own.host, own.port)}"  # old Safari: 'self' has no sockets
    policy = (
        # blob: for what the page creates itself: the code of its audio thread, a file whose length it reads
        "default-src 'none'; script-src 'self' blob:; style-src 'self'; "
        "img-src 'self' data: blob:; media-src blob:; "
        f"connect-src 'self' {socket}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    fields = (("Cache-Control", "no-cache"), ("ETag", file.etag), ("Content-Security-Policy", policy))
    if file.etag in ", ".join(headers.get_all("If-None-Match")):
        return respond(HTTPStatus.NOT_MODIFIED, b"", file.content_type, fields)
    return respond(HTTPStatus.OK, file.data, file.content_type, fields)
