"""The address of an MQTT broker, the levels of its topics, and why it cannot be used, in words."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from streamtag.errors import SpecError
from streamtag.text import describe_os_error, join_address, one_line, printable, unique

PORTS = {"mqtt": 1883, "mqtts": 8883}
TOPIC = "streamtag"
EXAMPLE = "write mqtt://USER@HOST/TOPIC, or mqtts:// for TLS"
MAX_TOPIC_BYTES = 1024  # MQTT allows 65,535 for a topic with all its levels
MAX_LEVEL_CHARS = 128
HASH_CHARS = 8  # of a name that is longer
MAX_REASON_CHARS = 200


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


class UnrequestedMessageError(Exception):
    """The broker sends messages although nothing was subscribed to."""


@dataclass(frozen=True)
class Problem:
    """text: what is wrong. is_refusal: the broker is there and refuses, so that somebody has to change something."""

    text: str
    is_refusal: bool = False

    @classmethod
    def of(cls, error: Exception, address: MqttAddress) -> Self:
        """Return what an attempt to connect, or a connection, has failed with."""
        from aiomqtt.exceptions import MqttCodeError, MqttConnectError

        # aiomqtt raises its own error in place of the system's, and leaves that as the context
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        if isinstance(cause, UnrequestedMessageError):
            return cls("the broker sends messages that nobody asked for", True)
        if isinstance(cause, MqttConnectError):
            reason = str(cause.rc).lower()
            if address.username is None:
                return cls(f"the broker refuses a connection without user and password ({reason})", True)
            hint = "" if address.password else "; STREAMTAG_MQTT_PASSWORD is not set"
            return cls(f"the broker refuses user {printable(address.username)!r} ({reason}{hint})", True)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cls(f"its certificate is not trusted ({cause.verify_message}); --mqtt-ca F.pem names one", True)
        if isinstance(cause, ssl.SSLError):
            return cls(f"no TLS there ({(cause.reason or 'closed').lower()}); is it an mqtt:// address?", True)
        if isinstance(cause, TimeoutError) or str(cause) == "Operation timed out":
            return cls("no answer")
        if isinstance(cause, ConnectionResetError) and address.is_secure:
            return cls("it hangs up before it answers; is it an mqtt:// address?", True)
        if isinstance(cause, OSError | UnicodeError):
            return cls(f"no connection ({_short(describe_os_error(cause))})")
        if isinstance(cause, MqttCodeError) or str(cause).startswith("Disconnected"):
            return cls("the connection broke off")
        return cls(f"no connection ({_short(str(cause)) or type(cause).__name__})")


def _short(text: str) -> str:
    return printable(one_line(text))[:MAX_REASON_CHARS]


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
