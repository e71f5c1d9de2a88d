"""Work in a thread of its own: an iteration that runs ahead, and an attempt that is repeated until it succeeds."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Generic, Protocol, TypeVar

from streamtag.audio.source import Closing
from streamtag.errors import StreamtagError

FIRST_DELAY_S = 0.5  # before the first attempt
MAX_DELAY_S = 10.0  # the delay doubles until it reaches this
POLL_INTERVAL_S = 0.1  # how often a thread that waits looks around
JOIN_TIMEOUT_S = 1.0  # how long closing waits for a thread that may be stuck

Wait = Callable[[threading.Event, float], bool]  # as threading.Event.wait


class Closable(Protocol):
    def close(self) -> None: ...


Item = TypeVar("Item")
T = TypeVar("T", bound=Closable)


class ThreadedIterator(Closing, Generic[Item]):
    """Runs an iteration ahead in a thread, up to max_items. Owned by the thread that calls `get`.

    has_ended: every item was returned, and no further one comes. error: what ended the iteration, if an exception did.
    """

    def __init__(
        self, items: Generator[Item, None, None], max_items: int, name: str, join_timeout_s: float = JOIN_TIMEOUT_S
    ) -> None:
        """items: run and closed in the thread. name: of the thread."""
        self.has_ended = False
        self.error: Exception | None = None
        self._items, self._join_timeout_s = items, join_timeout_s
        self._queue: queue.Queue[tuple[Item] | Exception | None] = queue.Queue(max_items)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def get(self, timeout_s: float) -> Item | None:
        """Return the next item, or None if there is none within timeout_s."""
        if self.has_ended:
            return None
        try:
            item = self._queue.get(block=timeout_s > 0, timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(item, tuple):
            return item[0]
        self.has_ended, self.error = True, item
        return None

    def close(self) -> None:
        """End the thread; if it waits for a stalled input, it ends when that returns."""
        self._closed.set()
        self._thread.join(self._join_timeout_s)

    def _run(self) -> None:
        end: Exception | None = None
        try:
            with closing(self._items) as items:
                for item in items:
                    if not self._put((item,)):
                        return
        except Exception as error:  # for `error`, in its place
            end = error
        self._put(end)

    def _put(self, item: tuple[Item] | Exception | None) -> bool:
        """Return whether it was put before the iterator was closed."""
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=POLL_INTERVAL_S)
            except queue.Full:
                continue
            return True
        return False


class BackoffRetry(Closing, Generic[T]):
    """A thread that repeats an attempt, less and less often, until it raises no StreamtagError.

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
        self._attempt, self._wait = attempt, wait
        self._closed = threading.Event()
        self._results = ThreadedIterator(self._run(), 1, "streamtag-retry", join_timeout_s)

    def result(self, timeout_s: float = 0.0) -> T | None:
        """Return what the attempt returned, once, or None if there is nothing within timeout_s.

        Raises the attempt's exception if it was no StreamtagError.
        """
        result = self._results.get(timeout_s)
        if self._results.error is not None:
            raise self._results.error
        return result

    def close(self) -> None:
        """End the thread; an attempt that is stuck closes its own result when it returns. Raises nothing."""
        self._closed.set()
        self._results.close()
        if (result := self._results.get(0)) is not None:
            result.close()

    def _run(self) -> Generator[T, None, None]:
        """The body of the thread."""
        while not self._wait(self._closed, self.delay_s):
            try:
                result = self._attempt()
            except StreamtagError:
                self.delay_s = next_delay(self.delay_s)
                continue
            try:
                yield result
            except GeneratorExit:  # the retry is closed
                result.close()
                raise
            return


def next_delay(delay_s: float) -> float:
    """Return the delay after one that failed, in seconds."""
    return min(2 * delay_s, MAX_DELAY_S)
