"""The address of a streamtag server, as people write it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from streamtag.errors import SpecError
from streamtag.text import is_loopback, printable

SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}  # the address of a page is that of its server
STREAMS = "/streams/"
UNQUOTED = "/%:@!$&'()*+,;=~-._?"  # unchanged in a path or a query; %: it may be quoted already


@dataclass(frozen=True)
class ServerAddress:
    """An address to connect to. label: for messages, one printable line without password, token or query."""

    url: str
    label: str

    @property
    def is_secure(self) -> bool:
        return self.url.startswith("wss:")

    @property
    def is_loopback(self) -> bool:
        """It is on this machine, so no proxy leads to it."""
        return is_loopback(urlsplit(self.url).hostname or "")

    @property
    def stream(self) -> str | None:
        """The name of the only stream whose messages it sends; None: those of all."""
        path = urlsplit(self.url).path
        return unquote(path.removeprefix(STREAMS)) if path.startswith(STREAMS) else None

    def with_history(self, seconds: int) -> Self:
        """Return the address that asks for so much of the past, too, unless it does ask for some."""
        parts = urlsplit(self.url)
        if not seconds or "history=" in parts.query:
            return self
        query = f"{parts.query}&history={seconds}".lstrip("&")
        return replace(self, url=urlunsplit(parts._replace(query=query)))

    @classmethod
    def parse(cls, where: str) -> Self:
        """Parse `ws://HOST:PORT/`, wss, http and https, or HOST:PORT or PORT of this machine, with or without a path.

        Raises SpecError if it is none of these.
        """
        text = where.strip()
        if re.fullmatch("[0-9]{1,5}(/.*)?", text):  # as `streamtag serve` accepts it
            text = f"127.0.0.1:{text}"
        scheme = re.match(r"([a-z][a-z0-9+.-]*)://", text, re.IGNORECASE)
        try:
            parts = urlsplit(text if scheme else f"ws://{text}")
            host = parts.netloc.rpartition("@")[2]
            if not parts.hostname or parts.port == 0 or not all(map(str.isprintable, parts.hostname)):
                raise ValueError
        except ValueError:
            raise SpecError(f"{_hidden(where)}: not an address: write ws://HOST:PORT/") from None
        if parts.scheme not in SCHEMES:
            raise SpecError(f"{_hidden(where)}: only ws:// and wss:// addresses can be watched")
        path, query = quote(parts.path or "/", safe=UNQUOTED), quote(parts.query, safe=UNQUOTED)
        kind = SCHEMES[parts.scheme]
        label = urlunsplit((kind, host, parts.path or "/", "", ""))
        return cls(urlunsplit((kind, parts.netloc, path, query, "")), printable(label))


def _hidden(where: str) -> str:
    """Return what was written without what may be secret in it."""
    return printable(re.sub(r"//[^/]*@", "//", where).partition("?")[0])
