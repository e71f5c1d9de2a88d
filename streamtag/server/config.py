"""Settings of a server: where it listens, who may connect, and what a connection may cost."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from streamtag.errors import SpecError
from streamtag.spec.base import Spec

LOOPBACK = "127.0.0.1"  # the default: not reachable from the network
NULL_ORIGIN = "null"  # the origin of a page that was opened from a file
DEFAULT_PORTS = {"http": 80, "https": 443}
HOST_PATTERN = r"[a-z0-9._:%~-]+"  # names, addresses and zones; nothing with another meaning in a header


@dataclass(frozen=True)
class Origin:
    """An origin as browsers define it. host: lower case, an IPv6 address without its brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse "https://example.org" or "http://[::1]:8765". Raises ValueError for anything else."""
        parts = urlsplit(text)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
            raise ValueError(f"{text!r} is not an origin")
        if parts.path or parts.query or parts.fragment or not re.fullmatch(HOST_PATTERN, parts.hostname):
            raise ValueError(f"{text!r} is more than an origin")
        return cls(parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme])

    @property
    def is_literal(self) -> bool:
        """The host is a numeric address, which no name server can influence."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


@dataclass(frozen=True)
class ServerConfig(Spec):
    """Hold where a server listens, who may connect, and what one subscriber may cost.

    port: 0 for any free port. token: what subscribers must present; None: nothing. origins: pages elsewhere that may
    subscribe, as in "https://example.org", or "null" for pages opened from files; the server's own page always may.
    tls_cert, tls_key: PEM files; the key may be in the certificate's file. queue_length: the most frames that wait for
    one subscriber, and the most other messages. stall_timeout_s: how long nothing may be read while messages wait.
    max_message_bytes: the size of what a subscriber may send, which should be nothing. open_timeout_s: until a request
    is complete and, where it is for a page, answered. close_timeout_s: how long the other side may take to close.
    ping_timeout_s: without any sign of life; generous, since what a slow reader has not read precedes the ping.
    history: the file of --history, which may come later, for the page's Day view; None: there is none.
    """

    host: str = LOOPBACK
    port: int = 8765
    token: str | None = None
    max_clients: int = 256
    origins: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    queue_length: int = 64
    stall_timeout_s: float = 10.0
    max_message_bytes: int = 4096
    open_timeout_s: float = 10.0
    close_timeout_s: float = 2.0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 60.0
    history: Path | None = None

    def __post_init__(self) -> None:
        if not self.host or any(c.isspace() or c in "/[]@" for c in self.host):
            raise SpecError(f"{self.host!r}: not a host to listen on")
        if not 0 <= self.port <= 65535:
            raise SpecError(f"{self.port}: ports go from 0 to 65535")
        _check_token(self.token)
        self._check_integers("max_clients", "queue_length", "max_message_bytes")
        self._check_seconds()
        if self.tls_key is not None and self.tls_cert is None:
            raise SpecError("a TLS key needs its certificate")
        for origin in self.origins:
            if origin != NULL_ORIGIN:
                _parse_origin(origin)

    @classmethod
    def parse(cls, text: str, **others: Any) -> Self:
        """Parse [HOST:]PORT with an IPv6 host in brackets; others: the remaining fields. Raises SpecError."""
        host, colon, port = text.strip().rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise SpecError(f"{text}: an IPv6 address stands in brackets, as in [::1]:8765")
        if not re.fullmatch(r"[0-9]{1,5}", port) or (colon and not host):
            raise SpecError(f"{text}: not an address to serve: give PORT or HOST:PORT, as in 8765 or 0.0.0.0:8765")
        return cls(host or LOOPBACK, int(port), **others)

    @property
    def scheme(self) -> str:
        return "http" if self.tls_cert is None else "https"

    @property
    def allowed_origins(self) -> frozenset[Origin]:
        """The origins elsewhere that may subscribe."""
        return frozenset(_parse_origin(origin) for origin in self.origins if origin != NULL_ORIGIN)


@dataclass(frozen=True)
class IngestConfig(Spec):
    """Hold who may send audio, and how much.

    token: what producers must present; None: the subscribers' token. max_per_client: streams at a time from an address.
    max_streams: streams at a time; queues and remembered streams are sized for them. max_message_bytes: of one audio
    message. idle_timeout_s: a producer that sends no audio for so long is disconnected. stale_after_s: a producer that
    sends none for this long loses its stream to a new connection of the same name, since the old connection of a client
    whose network changed still looks open. reconnect_grace_s: how long a stream without a connection counts for the
    address that it came from.
    """

    token: str | None = None
    max_per_client: int = 64
    max_streams: int = 256
    max_message_bytes: int = 1 << 20
    idle_timeout_s: float = 60.0
    stale_after_s: float = 3.0
    reconnect_grace_s: float = 10.0

    def __post_init__(self) -> None:
        _check_token(self.token)
        self._check_integers("max_per_client", "max_streams", "max_message_bytes")
        self._check_seconds()


def _check_token(token: str | None) -> None:
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise SpecError("a token is one or more ASCII characters without spaces")


def _parse_origin(text: str) -> Origin:
    try:
        return Origin.parse(text.rstrip("/"))
    except ValueError:
        raise SpecError(f"{text}: not an origin: give scheme and host, as in https://example.org, or null") from None
