"""Jobs in worker processes, one thread each, with the results in order."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TypeVar

import torch

from streamtag.errors import StreamtagError

J = TypeVar("J")
R = TypeVar("R")

JOBS_PER_WORKER = 4  # waiting, so that no process idles and memory stays small
MALLOC_OPTIONS = ((-3, 32 << 20), (-1, 1 << 30))  # glibc's M_MMAP_THRESHOLD at its largest, M_TRIM_THRESHOLD


def run_jobs(command: str, jobs: Sequence[J], work: Callable[[J], R], workers: int) -> Iterator[R]:
    """Yield the result of each job, in order. With 0 workers the work happens in this process.

    Raises StreamtagError, which names the command, if a worker process dies.
    """
    if not workers:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs) or 1), context, initializer=_start_worker) as pool:
        try:
            pending: deque[Future[R]] = deque()
            for job in jobs:
                pending.append(pool.submit(work, job))
                if len(pending) >= JOBS_PER_WORKER * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise StreamtagError(f"{command}: a worker process was killed (memory?): what is done is kept") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    torch.set_num_threads(1)
    _keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it and ends the pool
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _keep_freed_memory() -> None:
    """Keep glibc from returning each clip's buffers to the system, which costs up to a tenth of the time."""
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, size in MALLOC_OPTIONS:
            mallopt(option, size)


def _exit_with_parent() -> None:
    """Exit when the parent is gone: one that is killed cannot end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
