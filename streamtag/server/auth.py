"""Who may ask for what, decided on a request's headers."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from http import HTTPStatus

from websockets.datastructures import Headers

from streamtag.server.config import NO_ORIGIN, ServerConfig
from streamtag.server.origin import Origin, own_names
from streamtag.server.query import TOKEN, RequestTarget

FROM_A_FILE = ("null", "file://")  # what browsers send for a page that was opened from a file
BEARER = "bearer "


class HttpError(Exception):
    """A request that is turned away. reason: one word, for the counters; the text is for people."""

    def __init__(self, status: HTTPStatus, reason: str, text: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.headers = headers


class AccessControl:
    """The rules of one server. Every check raises Refusal."""

    def __init__(self, spec: ServerConfig, ingest_token: str | None = None) -> None:
        """ingest_token: what producers must show; None: what subscribers must."""
        self._scheme = spec.scheme
        self._token = spec.token
        self._ingest_token = spec.token if ingest_token is None else ingest_token
        self._allowed = spec.allowed
        self._files_allowed = NO_ORIGIN in spec.origins
        self._names = own_names() | {spec.host.lower()} | {origin.host for origin in spec.allowed}

    def check_host(self, headers: Headers) -> Origin:
        """The origin that the request is sent to.

        A name that is not this machine's own may be a foreign site's whose address was changed to this one's (DNS
        rebinding): that site's scripts would count as ours.
        """
        try:
            (host,) = headers.get_all("Host")
            origin = Origin.of(f"{self._scheme}://{host}")
        except ValueError:
            raise HttpError(
                HTTPStatus.BAD_REQUEST, "host", "one Host header is needed, and it must be a host"
            ) from None
        if not (origin.is_literal or origin.host.rstrip(".") in self._names):
            text = f"{origin.host} is no name of this server's; allow its origin if it should be"
            raise HttpError(HTTPStatus.FORBIDDEN, "host", text)
        return origin

    def check_origin(self, headers: Headers, own: Origin) -> None:
        """A browser's page must be this server's own, or allowed; other programs send no Origin."""
        origins = headers.get_all("Origin")
        if not origins:
            return
        if len(origins) == 1:
            if self._files_allowed and origins[0] in FROM_A_FILE:
                return
            try:
                origin = Origin.of(origins[0])
            except ValueError:
                pass
            else:
                if origin == own or origin in self._allowed:
                    return
        raise HttpError(HTTPStatus.FORBIDDEN, "origin", "pages of this origin may not connect here; allow it to")

    def check_token(self, headers: Headers, target: RequestTarget) -> None:
        if not self.knows(headers, target):
            text = "a token is needed: ?token=... or Authorization: Bearer ..."
            raise HttpError(HTTPStatus.UNAUTHORIZED, "token", text, [("WWW-Authenticate", "Bearer")])

    def check_ingest(self, headers: Headers, target: RequestTarget) -> None:
        """Of a producer."""
        if not _shows(self._ingest_token, headers, target):
            text = "a token for producers is needed: ?token=... or Authorization: Bearer ..."
            raise HttpError(HTTPStatus.UNAUTHORIZED, "token", text, [("WWW-Authenticate", "Bearer")])

    def knows(self, headers: Headers, target: RequestTarget) -> bool:
        """Whether the request bears the subscribers' token, if there is one."""
        return _shows(self._token, headers, target)


def _shows(wanted: str | None, headers: Headers, target: RequestTarget) -> bool:
    if wanted is None:
        return True
    shown = [line[len(BEARER) :] for line in headers.get_all("Authorization") if line.lower().startswith(BEARER)]
    shown += [target.parameters[TOKEN]] if TOKEN in target.parameters else []
    # Compared in a time that does not tell how much of it was right
    return any(hmac.compare_digest(wanted.encode(), token.strip().encode(errors="replace")) for token in shown)
