"""The threads that do the scheduler's work."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from threading import Lock, Thread

log = logging.getLogger("streamtag.scheduler")


class WorkerThreads:
    """Threads that call `run_next(worker)` until it returns False."""

    def __init__(self, run_next: Callable[[int], bool], workers: int) -> None:
        self._run_next = run_next
        self._threads = [
            Thread(target=self._run, args=(number,), name=f"streamtag-worker-{number}", daemon=True)
            for number in range(workers)
        ]

    def start(self) -> None:
        SWITCH_INTERVAL.shorten()
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for each thread and return whether all have ended."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout_s)
        SWITCH_INTERVAL.restore()
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, worker: int) -> None:
        is_running = True
        while is_running:
            try:
                is_running = self._run_next(worker)
            except Exception:  # a defect, in an observer for one; the other streams must not stop for it
                log.exception("a worker failed")


class SwitchInterval:
    """The interpreter's switch interval, which is shortened while any scheduler works.

    A step is hundreds of short operations, each of which releases the interpreter and acquires it again. Beside an
    event loop that is busy 30 % of its time, in bursts of 4 ms, a step of 32 streams took 42 to 48 ms with Python's own
    5 ms, 30 to 31 with 1 ms and 32 to 34 with 0.1 (medians on a busy machine; 22 ms alone on it).
    """

    MAX_INTERVAL_S = 0.001

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._original_s = 0.0

    def shorten(self) -> None:
        """Count one more user."""
        with self._lock:
            if self._users == 0:
                self._original_s = sys.getswitchinterval()
                sys.setswitchinterval(min(self.MAX_INTERVAL_S, self._original_s))
            self._users += 1

    def restore(self) -> None:
        """Count one user less, and restore the original interval after the last."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                sys.setswitchinterval(self._original_s)


SWITCH_INTERVAL = SwitchInterval()  # the only one, as the interval is the process's
