"""What another process takes of the machine, where the system tells (Linux): CPU time by thread, and memory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

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


def resident_mib(pid: int) -> float:
    """Memory of a process that no other one shares, MiB; nan if nothing tells."""
    try:
        words = Path(f"/proc/{pid}/statm").read_text().split()
        return (int(words[1]) - int(words[2])) * resource.getpagesize() / 2**20
    except (OSError, ValueError, IndexError):
        return float("nan")


def free_mib() -> float:
    """Memory that programs can still have, MiB; infinite if nothing tells."""
    try:
        text = Path("/proc/meminfo").read_text()
        return int(text.split("MemAvailable:")[1].split()[0]) / 1024
    except (OSError, ValueError, IndexError):
        return float("inf")


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
