"""The address of an MQTT broker, and how names of streams and concepts become levels of its topics."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from streamtag.errors import SpecError
from streamtag.text import join_address, printable, unique

PORTS = {"mqtt": 1883, "mqtts": 8883}
TOPIC = "streamtag"
EXAMPLE = "write mqtt://USER@HOST/TOPIC, or mqtts:// for TLS"
MAX_TOPIC_BYTES = 1024  # MQTT allows 65,535 for a topic with all its levels
MAX_LEVEL_CHARS = 128
HASH_CHARS = 8  # of a name that is longer


@dataclass(frozen=True)
class MqttAddress:
    """A broker, who connects to it, and the topic below which is published.

    port: 1 to 65535. topic: without a slash at either end. username, password: None if not given.
    """

    host: str
    port: int
    topic: str = TOPIC
    is_secure: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Return the address of the broker, without user and password."""
        return printable(f"{'mqtts' if self.is_secure else 'mqtt'}://{join_address(self.host, self.port)}")

    @classmethod
    def parse(cls, text: str, password: str | None = None) -> Self:
        """Parse `mqtt[s]://USER[:PASSWORD]@HOST[:PORT]/TOPIC`. password: the one to use unless the text has its own.

        User, password and topic may be percent-encoded. Raises SpecError, which never shows the password.
        """
        try:
            parts = urlsplit(text.strip())
            port = parts.port
        except ValueError:
            raise SpecError(f"--mqtt {_hidden(text)}: not an address: {EXAMPLE}") from None
        if parts.scheme not in PORTS or not parts.hostname or port == 0 or not parts.hostname.isprintable():
            raise SpecError(f"--mqtt {_hidden(text)}: not the address of a broker: {EXAMPLE}")
        topic = unquote(parts.path).strip("/") or TOPIC
        if parts.query or "#" in text or not _is_topic(topic):
            raise SpecError(
                f"--mqtt {_hidden(text)}: not a topic to publish to: no + or #, no $ at the start, no empty level"
            )
        username = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else password
        if password and not username:
            raise SpecError(f"--mqtt {_hidden(text)}: a password needs a user: {EXAMPLE}")
        is_secure = parts.scheme == "mqtts"
        return cls(parts.hostname, port or PORTS[parts.scheme], topic, is_secure, username, password or None)


def stream_level(name: str) -> str:
    """Return the level of a stream: its name, in which what MQTT reserves and white space is percent-encoded.

    Different names have different levels, and a name has the same one in every run.
    """
    level = "".join(
        quote(char, safe="", errors="surrogatepass") if char in "+#/%$" or char.isspace() or not char.isprintable()
        else char
        for char in name
    )  # fmt: skip
    if 0 < len(level) <= MAX_LEVEL_CHARS:
        return level
    return f"{level[:MAX_LEVEL_CHARS]}%{_digest(name)}"  # no other level has a % before such letters


def concept_levels(names: Iterable[str]) -> tuple[str, ...]:
    """Return a distinct level for each concept of a model, from letters, digits and underscores: `male_vocals`."""
    return tuple(unique((re.sub(r"\W+", "_", name) or "_" for name in names), "{}_{}"))


def identifier(*names: str) -> str:
    """Return a stable identifier for these names, unique also where their letters alone are not: [a-zA-Z0-9_]+."""
    readable = re.sub(r"[^a-zA-Z0-9]+", "_", "_".join(names))[:MAX_LEVEL_CHARS]
    return f"{readable}_{_digest(*names)}"


def _digest(*names: str) -> str:
    return sha256("\0".join(names).encode(errors="surrogatepass")).hexdigest()[:HASH_CHARS]


def _is_topic(topic: str) -> bool:
    is_short = len(topic.encode(errors="replace")) <= MAX_TOPIC_BYTES
    return is_short and topic.isprintable() and not re.search(r"[+#]|^\$|//", topic)


def _hidden(text: str) -> str:
    """Return what was written without what may be secret in it."""
    return printable(re.sub(r"//.*@", "//", text))
