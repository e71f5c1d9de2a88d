"""Measuring times as medians of interleaved runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch


def medians(functions: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Return the median seconds of each function. They run in turns, so that load affects all, after a warm-up."""
    for function in functions:
        function()
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            synchronize()
            began = time.perf_counter()
            function()
            synchronize()
            taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in times]


def synchronize() -> None:
    """Wait until a GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
