"""What another process takes of the machine, where the system tells (Linux): CPU time by thread, and memory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from streamtag.cli.bench.streams.pace import Pace

THREAD = "thread "  # before its number: whose CPU time a figure is
STOP_S = 10.0  # how long a process has to end when it is asked to


def cpu_by_thread(pid: int) -> dict[int, float]:
    """CPU time of each thread so far, s, by the thread's number; the first one's is `pid`. Empty if nothing tells."""
    times: dict[int, float] = {}
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError, ValueError, IndexError):  # it has ended
                times[int(task.name)] = _ticks((task / "stat").read_text()) / os.sysconf("SC_CLK_TCK")
    return times


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, threads that have ended included, s; nan if nothing tells."""
    try:
        return _ticks(Path(f"/proc/{pid}/stat").read_text()) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return float("nan")


def machine_cpu() -> dict[str, float]:
    """CPU time of the whole machine so far, s: not used, and taken by a machine around it. Empty if nothing tells."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        tick = os.sysconf("SC_CLK_TCK")
        return {"idle": (int(words[4]) + int(words[5])) / tick, "stolen": int(words[8]) / tick}
    except (OSError, ValueError, IndexError):
        return {}


def resident_mib(pid: int) -> float:
    """Memory of a process that no other one shares, MiB; nan if nothing tells."""
    try:
        words = Path(f"/proc/{pid}/statm").read_text().split()
        return (int(words[1]) - int(words[2])) * resource.getpagesize() / 2**20
    except (OSError, ValueError, IndexError):
        return float("nan")


def children(pid: int) -> list[int]:
    """The processes that it started. Empty if nothing tells."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it has ended
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def program_mib(pid: int) -> float:
    """Memory of a process and of those that it started, MiB: what each has for itself, and once what they share."""
    return sum(map(resident_mib, [pid, *children(pid)])) + _shared_mib(pid)


def free_mib() -> float:
    """Memory that programs can still have, MiB; infinite if nothing tells."""
    try:
        text = Path("/proc/meminfo").read_text()
        return int(text.split("MemAvailable:")[1].split()[0]) / 1024
    except (OSError, ValueError, IndexError):
        return float("inf")


class Window:
    """Reads CPU times when frames begin to be counted and when they no longer are. A context manager.

    start: of the pace, on time.monotonic(). read: -> s so far, by name; it is called in a thread of the window's own.
    """

    def __init__(self, pace: Pace, start: float, read: Callable[[], Mapping[str, float]]) -> None:
        self._bounds = [start + bound for bound in pace.counted]
        self._read = read
        self._readings: list[tuple[float, Mapping[str, float]]] = []
        self._thread = threading.Thread(target=self._run, name="bench-window", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._thread.join()

    def percent_of_a_core(self) -> dict[str, float]:
        """Of each name that both readings have."""
        (began, first), (ended, last) = self._readings
        return {
            f"{name}_percent_of_a_core": 100 * (last[name] - first[name]) / (ended - began)
            for name in first
            if name in last
        }

    def _run(self) -> None:
        for bound in self._bounds:
            time.sleep(max(0.0, bound - time.monotonic()))
            self._readings.append((time.monotonic(), {**self._read(), **machine_cpu()}))


def stop(process: subprocess.Popen[str]) -> None:
    """Asks it to end, and ends it if it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    with suppress(ValueError, OSError):  # what was never read
        process.communicate(timeout=STOP_S)


def _ticks(stat: str) -> int:
    """User and system time from a line of /proc/*/stat: the name in it may hold anything but its own bracket."""
    words = stat.rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def _shared_mib(pid: int) -> float:
    """Memory that no file stands for and that others may have too, MiB; 0 if nothing tells."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
        return int(text.split("RssShmem:")[1].split()[0]) / 1024
    except (OSError, ValueError, IndexError):
        return 0.0
