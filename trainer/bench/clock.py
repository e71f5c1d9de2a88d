"""Times as medians of interleaved runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch


def medians(functions: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Seconds of each function, run in turns, so that what disturbs the machine disturbs all; each once uncounted."""
    for function in functions:
        function()
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            wait()
            began = time.perf_counter()
            function()
            wait()
            taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in times]


def wait() -> None:
    """Until a GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
