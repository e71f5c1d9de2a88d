"""Where a sound lies: a path, an http(s) address, or "-" for standard input."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from streamtag.errors import SourceError
from streamtag.text import printable

STANDARD_INPUT = "-"
Kind = Literal["file", "url", "pipe"]


@dataclass(frozen=True)
class Address:
    """What the user wrote, and how to speak of it.

    label: for messages, one printable line without a password. name: the short form that names a stream.
    """

    where: str
    kind: Kind
    label: str
    name: str

    @property
    def suffix(self) -> str:
        """Of a file, such as ".mp3"; empty where there is none, or a strange one."""
        suffix = Path(self.where).suffix if self.kind == "file" else ""
        return suffix if suffix[1:].isalnum() and suffix.isascii() else ""

    @classmethod
    def of(cls, where: str) -> Self:
        """Raises SourceError if it is empty or an address of another kind than http and https."""
        if not where:
            raise SourceError("the name of the sound is empty: give a path, an address, or - for standard input")
        if where == STANDARD_INPUT:
            return cls(where, "pipe", "standard input", "stdin")
        scheme = re.match(r"([a-z][a-z0-9+.-]+)://", where, re.IGNORECASE)
        if scheme is None:
            return cls(where, "file", printable(where), printable(Path(where).name or where))
        if scheme[1].lower() not in ("http", "https"):
            raise SourceError(f"{printable(where)}: only http:// and https:// addresses can be opened")
        return cls(where, "url", *_names_of_url(where))


def _names_of_url(where: str) -> tuple[str, str]:
    try:
        parts = urlsplit(where)
        host = parts.netloc.rpartition("@")[2]
        if not parts.hostname:
            raise ValueError("no host in it")
    except ValueError as error:
        raise SourceError(f"{printable(where)}: not an address: {error}") from None
    label = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    name = unquote(parts.path).rstrip("/").rpartition("/")[2] or host
    return printable(label), printable(name)
