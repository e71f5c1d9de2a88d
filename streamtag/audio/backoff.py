"""Exponential back-off: an attempt is repeated in a thread of its own, less and less often, until it succeeds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from streamtag.errors import StreamtagError

FIRST_DELAY_S = 0.5  # before the first attempt
MAX_DELAY_S = 10.0  # the delay doubles until it reaches this
JOIN_TIMEOUT_S = 1.0  # how long `close` waits for an attempt that may be stuck

Wait = Callable[[threading.Event, float], bool]  # as threading.Event.wait


class Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


class BackoffRetry(Generic[T]):
    """A thread that repeats an attempt until it raises no StreamtagError.

    A result that nobody fetched is closed with the retry. delay_s: the one before the current or latest attempt.
    """

    def __init__(
        self,
        attempt: Callable[[], T],
        delay_s: float = FIRST_DELAY_S,
        join_timeout_s: float = JOIN_TIMEOUT_S,
        wait: Wait = threading.Event.wait,
    ) -> None:
        """delay_s: before the first attempt. wait: how the thread waits, for tests without a clock."""
        self.delay_s = delay_s
        self._attempt = attempt
        self._join_timeout_s = join_timeout_s
        self._wait = wait
        self._closed = threading.Event()
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._result: T | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="streamtag-retry", daemon=True)
        self._thread.start()

    def result(self, timeout_s: float = 0.0) -> T | None:
        """Return what the attempt returned, once, or None if there is nothing within timeout_s.

        Raises the attempt's exception if it was no StreamtagError.
        """
        self._done.wait(timeout_s)
        with self._lock:
            if self._error is not None:
                raise self._error
            result, self._result = self._result, None
        return result

    def close(self) -> None:
        """End the thread; an attempt that is stuck closes its own result when it returns. Raises nothing."""
        with self._lock:
            self._closed.set()
            result, self._result = self._result, None
        if result is not None:
            result.close()
        self._thread.join(self._join_timeout_s)

    def _run(self) -> None:
        while not self._wait(self._closed, self.delay_s):
            try:
                result = self._attempt()
            except StreamtagError:
                self.delay_s = next_delay(self.delay_s)
                continue
            except Exception as error:  # a defect: raised again by `result`
                self._error = error
                self._done.set()
                return
            with self._lock:
                if not self._closed.is_set():
                    self._result = result
                    self._done.set()
                    return
            result.close()
            return


def next_delay(delay_s: float) -> float:
    """Return the delay after one that failed, in seconds."""
    return min(2 * delay_s, MAX_DELAY_S)
