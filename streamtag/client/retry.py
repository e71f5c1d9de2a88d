"""Why a server cannot be reached: whether another attempt is useful, and the reason in words."""

from __future__ import annotations

import socket
import ssl

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI

from streamtag.text import printable

PERMANENT_STATUSES = {400, 401, 403}  # the next answer will be the same
TEMPORARY_STATUSES = {429, 500, 502, 503, 504}  # these do not mean that it is the wrong server
MAX_BODY_BYTES = 1 << 12  # of a server's answer that are looked at
MAX_REASON_CHARS = 200  # of it that are shown


def permanent_error(error: Exception, was_connected: bool) -> str | None:
    """Return why another attempt will fail too, or None if the problem may be temporary.

    was_connected: it was a streamtag server before, so it is only away if something else answers in its place.
    """
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if status in PERMANENT_STATUSES:
            return f"the server refuses (HTTP {status}){_quote(error)}"
        if not was_connected and status not in TEMPORARY_STATUSES:
            return f"not a streamtag server: it answers with HTTP {status}{_quote(error)}"
        return None
    return None if was_connected else _mistake(error)


def transient_error(error: Exception) -> str:
    """Return what is wrong at present."""
    if isinstance(error, ConnectionClosed):
        close = error.rcvd or error.sent
        if close is None:
            return "the connection broke off"
        reason = f": {printable(close.reason)[:MAX_REASON_CHARS]}" if close.reason else ""
        return f"the connection was closed ({close.code}{reason})"
    if isinstance(error, InvalidStatus):
        return f"no connection (HTTP {error.response.status_code}{_quote(error)})"
    if _hung_up(error):
        return "no connection (it hung up before it answered; is it a wss:// address?)"
    if isinstance(error, OSError) and error.strerror:
        return f"no connection ({error.strerror})"
    return f"no connection ({_first_line(error)})"


def _mistake(error: Exception) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); --ca F.pem names one"
    if isinstance(error, ssl.SSLError):
        return f"no TLS there ({getattr(error, 'reason', None) or _first_line(error)}); is it a ws:// address?"
    if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
        return f"no such host: {error.strerror}"
    if isinstance(error, UnicodeError):  # of a name that cannot be looked up
        return "not a host"
    if isinstance(error, InvalidURI | ImportError):  # the latter: websockets lacks a package for this kind of proxy
        return _first_line(error)
    if isinstance(error, InvalidHandshake) and not _hung_up(error):
        return f"not a streamtag server: {_first_line(error)}"
    return None


def _hung_up(error: Exception) -> bool:
    """Return whether the server ended the connection at once, as one that is starting or stopping does too."""
    return isinstance(error, InvalidMessage) and isinstance(error.__cause__, EOFError | OSError)


def _quote(error: InvalidStatus) -> str:
    """Return the first line of the server's answer, unless it is a page."""
    body = (error.response.body or b"")[:MAX_BODY_BYTES].decode("utf-8", "replace").strip()
    first = printable(body.partition("\n")[0])[:MAX_REASON_CHARS]
    return f": {first}" if first and not first.startswith("<") else ""


def _first_line(error: BaseException) -> str:
    return printable(str(error).partition("\n")[0])[:MAX_REASON_CHARS] or type(error).__name__
