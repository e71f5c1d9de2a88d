"""An attempt is repeated until it succeeds, less and less often, and leaves nothing open that nobody fetched."""

from __future__ import annotations

import threading

import pytest

from streamtag.audio.threaded import FIRST_DELAY_S, MAX_DELAY_S, BackoffRetry
from streamtag.errors import SourceError
from tests.audio.capture import FakeWait


class Connection:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def test_the_delay_doubles_up_to_a_limit_until_an_attempt_succeeds() -> None:
    connection, wait = Connection(), FakeWait()

    def attempt() -> Connection:
        if len(wait.delays) < 8:
            raise SourceError("not yet")
        return connection

    retry = BackoffRetry(attempt, wait=wait)
    assert retry.result(10) is connection
    assert retry.result() is None  # returned once
    assert wait.delays == [FIRST_DELAY_S, 1, 2, 4, 8, MAX_DELAY_S, MAX_DELAY_S, MAX_DELAY_S]
    assert retry.delay_s == MAX_DELAY_S
    retry.close()
    assert not connection.closed.is_set()


def test_closing_ends_the_attempts() -> None:
    def never() -> Connection:
        raise SourceError("never")

    retry = BackoffRetry(never, delay_s=3600)
    assert retry.result() is None
    retry.close()
    assert not any(thread.name == "streamtag-retry" for thread in threading.enumerate())


def test_a_result_that_was_not_fetched_is_closed() -> None:
    connection, finished = Connection(), threading.Event()

    def attempt() -> Connection:
        finished.set()
        return connection

    retry = BackoffRetry(attempt, delay_s=0)
    assert finished.wait(10)
    retry.close()
    assert connection.closed.wait(10)


def test_a_stuck_attempt_does_not_hold_up_closing_and_its_late_result_is_closed() -> None:
    connection, begun, go_on = Connection(), threading.Event(), threading.Event()

    def attempt() -> Connection:
        begun.set()
        assert go_on.wait(10)
        return connection

    retry = BackoffRetry(attempt, delay_s=0, join_timeout_s=0.01)
    assert begun.wait(10)
    retry.close()
    assert not connection.closed.is_set()
    go_on.set()
    assert connection.closed.wait(10)


def test_a_defect_is_raised_by_result_and_not_by_close() -> None:
    def attempt() -> Connection:
        raise ZeroDivisionError

    retry = BackoffRetry(attempt, delay_s=0)
    with pytest.raises(ZeroDivisionError):
        retry.result(10)
    retry.close()
