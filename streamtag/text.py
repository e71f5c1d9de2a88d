"""Small helpers for messages that several packages need. Imports nothing of streamtag."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from ipaddress import ip_address
from math import ceil, floor

TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)  # seconds


def plural(count: int, noun: str) -> str:
    """Return a number with its noun: `1 frame`, `2 frames`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def format_time(seconds: float) -> str:
    """Return a position: `3:07`, or `1:02:03` from one hour on. Rounds down like a clock; negative times count as 0."""
    return _clock(max(0, int(seconds)))


def format_length(seconds: float) -> str:
    """Return the length of a song or stream, to the nearest second: `1:13`, or `1:02:03` from one hour on."""
    return _clock(max(0, floor(seconds + 0.5)))


def time_step(shortest_s: float) -> float:
    """Return the shortest round time that is at least this long [s], for the marks of a time axis."""
    return next((step for step in TIME_STEPS if step >= shortest_s), 3600.0 * ceil(shortest_s / 3600))


def _clock(whole: int) -> str:
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def parse_time(text: str) -> float:
    """Return the seconds of a time such as `90`, `90.5`, `1:30`, `1:30.5` or `1:02:03`. Raises ValueError."""
    found = re.fullmatch(r"(?:(?:([0-9]+):)?([0-9]+):)?([0-9]+(?:\.[0-9]*)?)", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a time: give seconds, M:SS or H:MM:SS")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    if (found[1] and minutes >= 60) or (found[2] and seconds >= 60):
        raise ValueError(f"{text!r} is not a time: 60 seconds are a minute, and 60 minutes an hour")
    return 3600 * hours + 60 * minutes + seconds


def printable(text: str) -> str:
    """Return one line for any terminal and any JSON: file names may contain line feeds and broken UTF-8."""
    return "".join(c if c.isprintable() else "?" for c in text)


def one_line(text: object) -> str:
    """Return the text with every run of white space replaced by one space."""
    return " ".join(str(text).split())


def unique(names: Iterable[str], pattern: str = "{} ({})") -> list[str]:
    """Return the names in order; one that occurred before gets a number from 2 on, by the pattern."""
    used: set[str] = set()
    result: list[str] = []
    for name in names:
        candidate, count = name, 1
        while candidate in used:
            count += 1
            candidate = pattern.format(name, count)
        used.add(candidate)
        result.append(candidate)
    return result


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like this one, in any case; None if none is like it."""
    by_key = {each.casefold(): each for each in known}
    near = get_close_matches(name.casefold(), by_key, n=1)
    return by_key[near[0]] if near else None


def describe_os_error(error: Exception) -> str:
    """Return the system's reason in lower case, such as `no space left on device`; else the error's own text."""
    return str(getattr(error, "strerror", None) or error).lower()


def join_address(host: str, port: int) -> str:
    """Return HOST:PORT, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return True if no other machine can reach this host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
