"""Where a request comes from or goes to, as browsers count it: scheme, host and port."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}
HOST = r"[a-z0-9._:%~-]+"  # names, addresses, zones; nothing that means something elsewhere in a header


@dataclass(frozen=True)
class Origin:
    """host: lower case, an IPv6 address without its brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> Self:
        """Of "https://example.org" or "http://[::1]:8765". Raises ValueError for anything else."""
        parts = urlsplit(text)
        if parts.scheme not in PORTS or not parts.hostname or "@" in parts.netloc:
            raise ValueError(f"{text!r} is no origin")
        if parts.path or parts.query or parts.fragment or not re.fullmatch(HOST, parts.hostname):
            raise ValueError(f"{text!r} is more than an origin")
        return cls(parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme])

    @property
    def is_literal(self) -> bool:
        """The host is an address in numbers: no name server can have a hand in it."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def own_names() -> frozenset[str]:
    """What this machine is called by itself and its neighbours, lower case."""
    name = socket.gethostname().lower().rstrip(".")
    short = name.partition(".")[0]
    return frozenset({"localhost", name, short, f"{short}.local"} - {"", ".local"})
