"""Attempts go on until one works, less and less often, and leave nothing open that nobody wants."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from streamtag.audio import backoff as retry
from streamtag.audio.backoff import LAST_S, BackoffRetry, next_delay
from streamtag.errors import SourceError


class Thing:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def waited(check: Callable[[], object]) -> None:
    until = time.monotonic() + 10
    while not check():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_it_goes_on_until_an_attempt_works_and_waits_twice_as_long_each_time() -> None:
    thing, times = Thing(), []

    def attempt() -> Thing:
        times.append(time.monotonic())
        if len(times) < 4:
            raise SourceError(f"not yet ({len(times)})")
        return thing

    began = time.monotonic()
    trying: BackoffRetry[Thing] = BackoffRetry(attempt, pause_s=0.02)
    results: list[Thing | None] = [None]

    def fetched() -> bool:
        results.append(trying.result())
        return results[-1] is not None

    waited(fetched)
    assert results[-1] is thing
    assert trying.result() is None  # given once
    assert trying.reason == "not yet (3)"
    pauses = [after - before for before, after in zip([began, *times], times, strict=False)]
    assert all(pause >= 0.02 * 2**turn for turn, pause in enumerate(pauses))
    trying.close()
    assert not thing.closed.is_set()


def test_the_pause_has_an_end() -> None:
    pause = retry.FIRST_S
    for _ in range(20):
        pause = next_delay(pause)
    assert pause == LAST_S


def test_closing_it_ends_the_attempts() -> None:
    attempts = []

    def attempt() -> Thing:
        attempts.append(1)
        raise SourceError("never")

    trying: BackoffRetry[Thing] = BackoffRetry(attempt, pause_s=0.01)
    waited(lambda: len(attempts) >= 2)
    trying.close()
    count = len(attempts)
    assert not any(thread.name == "streamtag-retry" for thread in threading.enumerate())
    assert len(attempts) == count


def test_what_was_found_and_not_fetched_is_closed() -> None:
    thing, made = Thing(), threading.Event()

    def attempt() -> Thing:
        made.set()
        return thing

    trying: BackoffRetry[Thing] = BackoffRetry(attempt, pause_s=0.0)
    assert made.wait(10)
    trying.close()
    assert thing.closed.wait(10)


def test_an_attempt_that_is_stuck_holds_nobody_up_and_is_closed_when_it_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "FAREWELL_S", 0.05)
    thing, begun, go = Thing(), threading.Event(), threading.Event()

    def attempt() -> Thing:
        begun.set()
        assert go.wait(10)
        return thing

    trying: BackoffRetry[Thing] = BackoffRetry(attempt, pause_s=0.0)
    assert begun.wait(10)
    began = time.monotonic()
    trying.close()
    assert time.monotonic() - began < 5
    assert not thing.closed.is_set()
    go.set()
    assert thing.closed.wait(10)


def test_a_defect_is_not_taken_for_a_failed_attempt() -> None:
    def attempt() -> Thing:
        raise ZeroDivisionError

    trying: BackoffRetry[Thing] = BackoffRetry(attempt, pause_s=0.0)

    def raises() -> bool:
        try:
            trying.result()
        except ZeroDivisionError:
            return True
        return False

    waited(raises)
