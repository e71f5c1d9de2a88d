"""Who may ask for what, decided from the headers of a request."""

from __future__ import annotations

import hmac
import socket
from collections.abc import Sequence
from http import HTTPStatus
from math import ceil

from websockets.datastructures import Headers

from streamtag.errors import SpecError
from streamtag.scheduler.registry import NameTaken, UnknownStream
from streamtag.scheduler.stats import Busy
from streamtag.server.config import NULL_ORIGIN, Origin, ServerConfig
from streamtag.server.query import TOKEN, RequestTarget

FILE_ORIGINS = ("null", "file://")  # what browsers send for a page that was opened from a file
BEARER = "bearer "


class HttpError(Exception):
    """A request that is refused. reason: one word for /metrics; the text is for people."""

    def __init__(self, status: HTTPStatus, reason: str, text: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.headers = headers


# What a request is refused with: HttpError itself, and what as_http_error makes of the others.
REFUSALS = (HttpError, Busy, NameTaken, UnknownStream, SpecError)


def as_http_error(error: Exception) -> HttpError:
    """Return one of REFUSALS as an HttpError."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, Busy):
        headers = [("Retry-After", str(max(1, ceil(error.retry_after_s))))]
        return HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", str(error), headers)
    if isinstance(error, NameTaken):
        return HttpError(HTTPStatus.CONFLICT, "name", str(error))
    if isinstance(error, UnknownStream):
        return HttpError(HTTPStatus.NOT_FOUND, "path", str(error))
    return HttpError(HTTPStatus.BAD_REQUEST, "request", str(error))


class AccessControl:
    """The access rules of one server. Every check raises HttpError."""

    def __init__(self, config: ServerConfig, ingest_token: str | None = None) -> None:
        """ingest_token: what producers must present; None: the subscribers' token."""
        self._scheme = config.scheme
        self._token = config.token
        self._ingest_token = config.token if ingest_token is None else ingest_token
        self._allowed_origins = config.allowed_origins
        self._files_allowed = NULL_ORIGIN in config.origins
        self._host_names = _own_names() | {config.host.lower()} | {origin.host for origin in config.allowed_origins}

    def check_host(self, headers: Headers) -> Origin:
        """Return the origin that the request is sent to.

        A host name that is not this machine's own may belong to a foreign site that resolves its name to this address
        (DNS rebinding): to the browser, that site's scripts would have our origin.
        """
        try:
            (host,) = headers.get_all("Host")
            origin = Origin.parse(f"{self._scheme}://{host}")
        except ValueError:
            text = "one Host header is needed, and it must be a host"
            raise HttpError(HTTPStatus.BAD_REQUEST, "host", text) from None
        if not (origin.is_literal or origin.host.rstrip(".") in self._host_names):
            text = f"{origin.host} is not a name of this server; allow its origin if it should be"
            raise HttpError(HTTPStatus.FORBIDDEN, "host", text)
        return origin

    def check_origin(self, headers: Headers, own: Origin) -> None:
        """A page must come from this server, or be allowed; programs other than browsers send no Origin."""
        origins = headers.get_all("Origin")
        if not origins:
            return
        if len(origins) == 1:
            if self._files_allowed and origins[0] in FILE_ORIGINS:
                return
            try:
                origin = Origin.parse(origins[0])
            except ValueError:
                pass
            else:
                if origin == own or origin in self._allowed_origins:
                    return
        raise HttpError(HTTPStatus.FORBIDDEN, "origin", "pages of this origin may not connect here; allow it to")

    def check_token(self, headers: Headers, target: RequestTarget) -> None:
        """Require the subscribers' token."""
        if not self.is_authorized(headers, target):
            raise _unauthorized("a token is needed: ?token=... or Authorization: Bearer ...")

    def check_ingest_token(self, headers: Headers, target: RequestTarget) -> None:
        """Require the producers' token."""
        if not _has_token(self._ingest_token, headers, target):
            raise _unauthorized("a token for producers is needed: ?token=... or Authorization: Bearer ...")

    def is_authorized(self, headers: Headers, target: RequestTarget) -> bool:
        """Return whether the request presents the subscribers' token, or none is needed."""
        return _has_token(self._token, headers, target)


def _own_names() -> frozenset[str]:
    """Return what this machine is called by itself and its neighbours, in lower case."""
    name = socket.gethostname().lower().rstrip(".")
    short = name.partition(".")[0]
    return frozenset({"localhost", name, short, f"{short}.local"} - {"", ".local"})


def _has_token(expected: str | None, headers: Headers, target: RequestTarget) -> bool:
    if expected is None:
        return True
    tokens = [line[len(BEARER) :] for line in headers.get_all("Authorization") if line.lower().startswith(BEARER)]
    if TOKEN in target.parameters:
        tokens.append(target.parameters[TOKEN])
    # The comparison takes the same time however much of the token is right.
    return any(hmac.compare_digest(expected.encode(), token.strip().encode(errors="replace")) for token in tokens)


def _unauthorized(text: str) -> HttpError:
    return HttpError(HTTPStatus.UNAUTHORIZED, "token", text, [("WWW-Authenticate", "Bearer")])
