"""Files in batches by threads of this process, one per core, which share one model and one pool."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol

from streamtag.audio.source import Closing
from streamtag.catalog.file_task import FileTask, TaskConfig, TaskResult
from streamtag.catalog.files import AudioFile
from streamtag.inference.events import EventDetectorBank
from streamtag.text import usable_cores

if TYPE_CHECKING:
    from streamtag.inference.batch import PooledSession, SessionPool

MAX_OPEN_FILES = 32  # per thread: a hop then costs little more than in a batch of any size
MAX_GPU_THREADS = 8  # that decode for one GPU
MAX_PENDING_RESULTS = 64  # that wait for the journal
POLL_INTERVAL_S = 0.2


class Runner(Protocol):
    """Tags files: threads of this process, or actors of a cluster."""

    def run(self, files: Sequence[AudioFile]) -> Iterator[TaskResult | None]:
        """Yield the results in any order, and None regularly so that the caller can do something else."""


class FileBatch:
    """Up to `max_files` open files that one thread decodes and steps together.

    Where one ends the next begins, so the batch stays full to the end. Decoding takes a fifth of the time, so the
    thread that steps does it: nothing is handed over and nothing waits.
    """

    def __init__(self, pool: SessionPool, max_files: int, config: TaskConfig) -> None:
        """pool: may be shared with other batches; has slots for all."""
        self._pool, self._max_files, self._config = pool, max_files, config
        self._bank = EventDetectorBank.of(pool.tags, pool.concepts, max_files)

    def run(self, files: Iterator[AudioFile]) -> Iterator[TaskResult]:
        """Yield the result of each file once, in the order in which they end. Closing the iterator closes the files."""
        tasks: dict[PooledSession, FileTask] = {}
        try:
            while True:
                while len(tasks) < self._max_files and (file := next(files, None)) is not None:
                    session = self._pool.add()
                    tasks[session] = FileTask(file, session, self._bank, self._config)
                if not tasks:
                    return
                for task in tasks.values():
                    task.decode()
                stepped = [(tasks[session], frame) for session, frames in self._pool.step(tasks) for frame in frames]
                self._bank.feed_frames([task.row for task, _ in stepped], [frame for _, frame in stepped])
                for task, frame in stepped:
                    task.keep(frame)
                for session in [session for session, task in tasks.items() if task.is_finished]:
                    with tasks.pop(session) as task:
                        result = task.result()
                    yield result
        finally:
            for task in tasks.values():
                task.close()


class ThreadedRunner(Closing):
    """Tags files, the largest first, so that no long one is left alone at the end. Used once."""

    def __init__(
        self, pool: SessionPool, threads: int, config: TaskConfig, max_results: int = MAX_PENDING_RESULTS
    ) -> None:
        """pool: with MAX_OPEN_FILES slots per thread. max_results: that wait until `run` yields them."""
        self._batches = [FileBatch(pool, MAX_OPEN_FILES, config) for _ in range(threads)]
        # None: a thread has ended
        self._results: queue.Queue[TaskResult | Exception | None] = queue.Queue(max_results)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._one_thread = ExitStack()

    def run(self, files: Sequence[AudioFile]) -> Iterator[TaskResult | None]:
        """Yield the results; None regularly. Raises what broke in a thread."""
        from streamtag.model.batched import torch_threads  # late: torch

        self._one_thread.enter_context(torch_threads(1))  # several would only disturb each other
        waiting: queue.SimpleQueue[AudioFile | None] = queue.SimpleQueue()
        for file in (*largest_first(files), *[None] * len(self._batches)):  # each thread ends at its None
            waiting.put(file)
        for number, batch in enumerate(self._batches):
            thread = threading.Thread(target=self._work, args=(batch, waiting), name=f"streamtag-catalog-{number}")
            self._threads.append(thread)
            thread.start()
        running = len(self._threads)
        while running:
            try:
                item = self._results.get(timeout=POLL_INTERVAL_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
            else:
                yield item

    def close(self) -> None:
        """End the threads, each after its step. Files that are not finished are lost."""
        self._stop.set()
        for thread in self._threads:
            while thread.is_alive():
                with suppress(queue.Empty):  # it may wait for a place
                    self._results.get(timeout=POLL_INTERVAL_S)
        self._one_thread.close()

    def _work(self, batch: FileBatch, files: queue.SimpleQueue[AudioFile | None]) -> None:
        end: Exception | None = None
        try:
            for result in batch.run(iter(files.get, None)):
                self._results.put(result)
                if self._stop.is_set():
                    return
        except Exception as error:  # raised again by run
            end = error
        self._results.put(end)


def default_threads(device: str) -> int:
    """Return the number of threads that use the device fully."""
    cores = usable_cores()
    return cores if device == "cpu" else min(cores, MAX_GPU_THREADS)


def largest_first(files: Sequence[AudioFile]) -> list[AudioFile]:
    return sorted(files, key=lambda file: file.size, reverse=True)
