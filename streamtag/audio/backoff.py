"""Tries something again and again in a thread of its own, less and less often."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from streamtag.errors import StreamtagError

FIRST_S = 0.5  # s before the first attempt
LAST_S = 10.0  # s; twice as long each time until this, then so for ever
FAREWELL_S = 1.0  # s; how long closing waits for an attempt that may be stuck


class Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


class BackoffRetry(Generic[T]):
    """Attempts until one does not raise a StreamtagError. Whoever waits looks at `result` now and then.

    An attempt that succeeds when nobody wants it any more is closed.
    """

    def __init__(self, attempt: Callable[[], T], pause_s: float = FIRST_S) -> None:
        """pause_s: s before the first attempt."""
        self.pause_s = pause_s  # before the attempt that comes, or came, last
        self.reason: str | None = None  # why the last attempt failed
        self._attempt = attempt
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._found: T | None = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._try, name="streamtag-retry", daemon=True)
        self._thread.start()

    def result(self) -> T | None:
        """What the attempt gave; from then on it belongs to the caller. Raises what was no StreamtagError."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            found, self._found = self._found, None
            return found

    def close(self) -> None:
        self._closed.set()
        self._thread.join(FAREWELL_S)
        found = self.result()
        if found is not None:
            found.close()

    def _try(self) -> None:
        while not self._closed.wait(self.pause_s):
            try:
                found = self._attempt()
            except StreamtagError as error:
                self.reason = str(error)
                self.pause_s = next_delay(self.pause_s)
                continue
            except Exception as error:
                self._failure = error
                return
            with self._lock:
                self._found = found
            if self._closed.is_set():
                self._close_late()
            return

    def _close_late(self) -> None:
        """The attempt came to its end after nobody waited for it any more."""
        with self._lock:
            found, self._found = self._found, None
        if found is not None:
            found.close()


def next_delay(pause_s: float) -> float:
    return min(2 * pause_s, LAST_S)
