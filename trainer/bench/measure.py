"""Measuring times, as medians of interleaved runs, and memory."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

PEAK, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # see proc(5)


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


def reset_peak(device: torch.device) -> int | None:
    """Begin to measure the peak of the memory, and return the bytes that are used now; None as `peak_bytes`."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before and would be used again is not counted otherwise
        RESET.write_text(RESET_PEAK)
    except (OSError, AttributeError, TypeError):  # not glibc, not Linux, Windows
        return None
    return peak_bytes(device)


def peak_bytes(device: torch.device) -> int | None:
    """Return the peak of the memory since then; None if the system does not tell (on a CPU only Linux does)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        lines = PEAK.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
