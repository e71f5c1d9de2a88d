"""What the server answers to plain HTTP: the page, its health, its counters."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from streamtag.scheduler.stats import SchedulerStats
from streamtag.server.auth import AccessControl, HttpError
from streamtag.server.hub import Hub
from streamtag.server.metrics import Metrics
from streamtag.server.origin import Origin
from streamtag.server.query import RequestTarget

PAGE = "static/index.html"
NONCE = "__NONCE__"  # in the page's <style> and <script>
TEXT = "text/plain; charset=utf-8"
METHODS = "GET, HEAD"
HEADERS = (
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),  # an address may hold the token
    ("X-Content-Type-Options", "nosniff"),
)
NOTHING = (("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),)


class HttpRoutes:
    """Owned by the event loop. Every answer ends its connection."""

    def __init__(
        self, hub: Hub, metrics: Metrics, access: AccessControl, load: Callable[[], SchedulerStats | None] | None = None
    ) -> None:
        """load: of a server that takes sound; it gives None while that begins or ends."""
        self._hub = hub
        self._metrics = metrics
        self._access = access
        self._load = load
        page = files("streamtag.server").joinpath(PAGE)
        self._page = page.read_text(encoding="utf-8") if page.is_file() else None

    def answer(self, request: Request, target: RequestTarget, own: Origin) -> Response:
        """own: where the request was sent to. Raises Refusal."""
        if request.method not in ("GET", "HEAD"):
            text = "only GET and HEAD are understood"
            raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, "method", text, [("Allow", METHODS)])
        if target.path == "/" and self._page is not None:
            answer = self._show(self._page, own)
        elif target.path == "/health":
            known = self._access.knows(request.headers, target)
            answer = respond(HTTPStatus.OK, json.dumps(self._health(known)) + "\n", "application/json")
        elif target.path == "/metrics":
            self._access.check_token(request.headers, target)
            answer = respond(HTTPStatus.OK, self._metrics.page(), self._metrics.content_type)
        else:
            raise HttpError(HTTPStatus.NOT_FOUND, "path", "there are /, /streams/NAME, /health and /metrics")
        if request.method == "HEAD":
            answer.body = b""  # its Content-Length is that of the answer to GET
        return answer

    def _show(self, page: str, own: Origin) -> Response:
        nonce = secrets.token_urlsafe(16)
        host = f"[{own.host}]" if ":" in own.host else own.host
        socket = (
            f"{'wss' if own.scheme == 'https' else 'ws'}://{host}:{own.port}"  # 'self' has no sockets in old Safari
        )
        policy = (
            # blob: for what the page makes itself: the code of its audio thread, a file whose length it asks for
            f"default-src 'none'; script-src 'nonce-{nonce}' blob:; style-src 'nonce-{nonce}'; "
            "img-src 'self' data: blob:; media-src blob:; "
            f"connect-src 'self' {socket}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        body = page.replace(NONCE, nonce)
        return respond(HTTPStatus.OK, body, "text/html; charset=utf-8", (("Content-Security-Policy", policy),))

    def _health(self, known: bool) -> dict[str, Any]:
        """known: the asker may hear the streams, so it may know what they are called."""
        now = time.monotonic()
        heard = False
        streams = {}
        for name, stream in self._hub.streams:
            silent = None if stream.heard is None else round(now - stream.heard, 3)
            heard |= silent is not None
            streams[name] = {"since_frame_s": silent, "ended": stream.end is not None}
        about = {
            "status": "ready" if heard else "waiting",
            "version": self._hub.hello.server,
            "model": self._hub.hello.model,
            "subscribers": len(self._hub),
        }
        return about | self._intake() | ({"streams": streams} if known else {})

    def _intake(self) -> dict[str, Any]:
        """What producers may want to know; nothing where no sound is taken."""
        if self._load is None:
            return {}
        load = self._load()
        if load is None:
            return {"status": "waiting"}
        return {
            "status": "degraded" if load.is_degraded else "ready",
            "capacity": load.capacity,
            "room": load.room,
            "retry_after_s": None if load.room else round(load.retry_after_s, 3),
            "running": load.streams - load.disconnected,
            "away": load.disconnected,
            "lag_s": round(load.lag_s, 3),
        }


def refuse(refusal: HttpError) -> Response:
    """The answer to a request that is turned away."""
    return respond(refusal.status, f"{refusal}\n", TEXT, (*NOTHING, *refusal.headers))


def respond(
    status: HTTPStatus, body: str | bytes, kind: str, headers: tuple[tuple[str, str], ...] = NOTHING
) -> Response:
    data = body.encode(errors="replace") if isinstance(body, str) else body
    about = (("Date", formatdate(usegmt=True)), ("Content-Length", str(len(data))), ("Content-Type", kind))
    return Response(status.value, status.phrase, Headers([*about, *HEADERS, *headers]), data)
