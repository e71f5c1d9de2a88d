"""CPU time and memory of other processes, where the system reports them (Linux), and how to stop one."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np

STOP_TIMEOUT_S = 10.0
SETTLED = 0.4  # share of a run after which memory should not grow any more


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process so far, ended threads included, in s; nan if unknown."""
    try:
        fields = _stat(Path(f"/proc/{pid}/stat"))
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return float("nan")


def resident_mib(pid: int) -> float:
    """Return the memory of a process that it shares with no other, in MiB; nan if unknown."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
        return (int(fields[1]) - int(fields[2])) * resource.getpagesize() / 2**20
    except (OSError, ValueError, IndexError):
        return float("nan")


def children(pid: int) -> list[int]:
    """Return the processes that it started; none if unknown."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it has ended
            if int(_stat(stat)[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return _stat(Path(f"/proc/{pid}/stat"))[0] not in "ZX"
    except OSError:
        return False


def program_mib(pid: int) -> float:
    """Return the memory of a process and its children, in MiB: what each has alone, and once what they share."""
    return sum(map(resident_mib, [pid, *children(pid)])) + _shared_mib(pid)


def program_cpu_s(pid: int) -> float:
    """Return the CPU time of a process and its children so far, in s."""
    return sum(map(cpu_s, [pid, *children(pid)]))


def stop(process: subprocess.Popen[str]) -> None:
    """Interrupt it, and kill it if it does not end."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
    with suppress(ValueError, OSError):  # the rest of its output
        process.communicate(timeout=STOP_TIMEOUT_S)


def mib_per_hour(readings: list[tuple[float, float]]) -> float:
    """Return the slope of a line through the readings (s, MiB) of the settled part."""
    seconds, mib = np.array(readings[int(SETTLED * len(readings)) :]).T
    return float(3600 * np.polyfit(seconds, mib, 1)[0])


def _stat(path: Path) -> list[str]:
    """Return the fields after the name, which may contain anything but its own bracket."""
    return path.read_text().rpartition(")")[2].split()


def _shared_mib(pid: int) -> float:
    """Return the anonymous memory that others may share, in MiB; 0 if unknown."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
        return int(text.split("RssShmem:")[1].split()[0]) / 1024
    except (OSError, ValueError, IndexError):
        return 0.0
