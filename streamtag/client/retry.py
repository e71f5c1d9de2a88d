"""What it means that a server cannot be reached: whether it is of use to try again, and why not, in words."""

from __future__ import annotations

import socket
import ssl

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI

from streamtag.text import printable

REFUSED = {400, 401, 403}  # it will not be otherwise the next time
NOT_NOW = {429, 500, 502, 503, 504}  # nor does this say that it is the wrong server
ANSWER = 1 << 12  # bytes of a server's answer that are looked at
REASON = 200  # characters of it that are shown


def permanent_error(error: Exception, known: bool) -> str | None:
    """Why it will not be otherwise the next time; None if what is wrong may pass.

    known: it was a streamtag server before, so that it is only away if something else answers in its place.
    """
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if status in REFUSED:
            return f"the server refuses (HTTP {status}){_said(error)}"
        if not known and status not in NOT_NOW:
            return f"not a streamtag server: it answers with HTTP {status}{_said(error)}"
        return None
    return None if known else _mistake(error)


def _mistake(error: Exception) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); --ca F.pem names one"
    if isinstance(error, ssl.SSLError):
        return f"no TLS there ({getattr(error, 'reason', None) or line_of(error)}); is it a ws:// address?"
    if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
        return f"no such host: {error.strerror}"
    if isinstance(error, InvalidURI | ImportError):  # the latter: a proxy of a kind that websockets needs more for
        return line_of(error)
    if isinstance(error, InvalidHandshake) and not _hung_up(error):
        return f"not a streamtag server: {line_of(error)}"
    return None


def transient_error(error: Exception) -> str:
    """What is wrong at present."""
    if isinstance(error, ConnectionClosed):
        closed = error.rcvd or error.sent
        said = f": {printable(closed.reason)[:REASON]}" if closed is not None and closed.reason else ""
        return "the connection broke off" if closed is None else f"the connection was closed ({closed.code}{said})"
    if isinstance(error, InvalidStatus):
        return f"no connection (HTTP {error.response.status_code}{_said(error)})"
    if _hung_up(error):
        return "no connection (it hung up before it answered; is it a wss:// address?)"
    if isinstance(error, OSError) and error.strerror:
        return f"no connection ({error.strerror})"
    return f"no connection ({line_of(error)})"


def _hung_up(error: Exception) -> bool:
    """Which a server that is being started or stopped does too."""
    return isinstance(error, InvalidMessage) and isinstance(error.__cause__, EOFError | OSError)


def _said(error: InvalidStatus) -> str:
    """The first line of what the server says about it, unless it is a page."""
    body = (error.response.body or b"")[:ANSWER].decode("utf-8", "replace").strip()
    first = printable(body.partition("\n")[0])[:REASON]
    return f": {first}" if first and not first.startswith("<") else ""


def line_of(error: BaseException) -> str:
    """An error's first line."""
    return printable(str(error).partition("\n")[0])[:REASON] or type(error).__name__
