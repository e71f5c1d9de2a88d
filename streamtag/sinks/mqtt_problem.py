"""Why a broker cannot be used, in words."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Self

from streamtag.sinks.mqtt_address import MqttAddress
from streamtag.text import describe_os_error, one_line, printable

MAX_REASON_CHARS = 200


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
