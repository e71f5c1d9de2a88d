"""Which errors end a subscription, and which may be temporary."""

from __future__ import annotations

import socket
import ssl

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI
from websockets.frames import Close
from websockets.http11 import Response

from streamtag.client.retry import MAX_REASON_CHARS, permanent_error, transient_error


def _status(code: int, body: bytes = b"") -> InvalidStatus:
    return InvalidStatus(Response(code, "", Headers(), body))


def _hung_up(cause: Exception) -> InvalidMessage:
    error = InvalidMessage("did not receive a valid HTTP response")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "at_first", "later"),
    [
        (_status(401), True, True),
        (_status(403), True, True),
        (_status(404), True, False),
        (_status(200), True, False),
        (_status(503), False, False),
        (InvalidHandshake("no upgrade"), True, False),
        (InvalidURI("ws://", "no host"), True, False),
        (_hung_up(ValueError()), True, False),
        (_hung_up(EOFError()), False, False),
        (_hung_up(ConnectionResetError()), False, False),
        (ssl.SSLError(1, "wrong version number"), True, False),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), True, False),
        (UnicodeError("label empty or too long"), True, False),
        (socket.gaierror(socket.EAI_AGAIN, "no answer"), False, False),
        (ImportError("python-socks is required"), True, False),
        (ConnectionRefusedError(111, "refused"), False, False),
        (TimeoutError("timed out"), False, False),
        (ConnectionClosedError(Close(1013, "too slow"), None), False, False),
    ],
)
def test_an_error_is_permanent_at_first_or_also_after_a_connection(
    error: Exception, at_first: bool, later: bool
) -> None:
    assert (permanent_error(error, was_connected=False) is not None) == at_first
    assert (permanent_error(error, was_connected=True) is not None) == later
    for text in (permanent_error(error, was_connected=False), transient_error(error)):
        assert text is None or (text and text.isprintable())


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (ConnectionRefusedError(111, "refused"), "no connection (refused)"),
        (TimeoutError("timed out"), "no connection (timed out)"),
        (TimeoutError(), "no connection (TimeoutError)"),
        (_status(503, b"too many\nsubscribers"), "no connection (HTTP 503: too many)"),
        (_status(502, b"<html>"), "no connection (HTTP 502)"),
        (ConnectionClosedError(Close(1013, "too slow\x1b"), None), "the connection was closed (1013: too slow?)"),
        (ConnectionClosedError(None, None), "the connection broke off"),
    ],
)
def test_a_temporary_problem_is_described(error: Exception, description: str) -> None:
    assert transient_error(error) == description


def test_a_long_answer_is_cut_short() -> None:
    assert len(permanent_error(_status(400, b"x" * 100_000), was_connected=True) or "") < MAX_REASON_CHARS + 60
