"""Moments as people write them, in the local time zone, and the range that a question is about.

`zone` is None for the zone of this machine, whose rules for past and coming dates apply, summer time included.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, tzinfo

from streamtag.errors import SpecError

DEFAULT_RANGE_S = 86_400.0
FORMS = "2026-11-27, '2026-11-27 18:30', 18:30 (today), today, yesterday, now, or how long ago: 90m, 12h, 7d"
UNITS_S = {"m": 60, "h": 3600, "d": 86_400}
_AGO = re.compile(r"([0-9]{1,6}(?:\.[0-9]+)?)([mhd])")
_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}|today|yesterday)?(?:(?:^|[ T])([0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?))?")


def parse_moment(text: str, now: float, zone: tzinfo | None = None) -> float:
    """Return the Unix time of one of FORMS; a date without a time is its midnight. Raises SpecError.

    A time that the clock skips in spring is that of a clock which was not set forward; of two in autumn the first.
    """
    word = text.strip()
    if word == "now":
        return now
    if found := _AGO.fullmatch(word):
        return max(0.0, now - float(found[1]) * UNITS_S[found[2]])
    found = _MOMENT.fullmatch(word)
    if not word or found is None:
        raise SpecError(f"{text!r} is not a time: give {FORMS}")
    day, clock = found.groups()
    today = datetime.fromtimestamp(now, zone).date()
    try:
        dates = {None: today, "today": today, "yesterday": today - timedelta(days=1)}
        chosen = dates[day] if day in dates else date.fromisoformat(day)
        hour, minute, second = [*map(int, (clock or "0:00").split(":")), 0][:3]
        at = datetime.combine(chosen, time(hour, minute, second), zone).timestamp()
    except (ValueError, OverflowError, OSError):
        raise SpecError(f"{text!r} is not a time: there is no such day or hour") from None
    return max(0.0, at)


def choose_range(
    since: float | None, until: float | None, now: float, oldest_at: float, newest_at: float
) -> tuple[float, float]:
    """Return from when to when a question is about, by default the last 24 hours. Raises SpecError for an empty range.

    oldest_at, newest_at: of what is stored. Where all of it is older than that, the default ends there; where a part
    has a time that is still to come, since files are tagged faster than they play, that part belongs to it. It does
    not begin before anything is stored.
    """
    end = until
    if end is None:
        end = now if since is not None or now - DEFAULT_RANGE_S < newest_at else newest_at
        end = max(end, newest_at)
    start = since
    if start is None:
        start = min(now, end) - DEFAULT_RANGE_S
        start = max(start, oldest_at) if oldest_at < end else start
    if start >= end:
        raise SpecError("--since must be before --until")
    return start, end


def format_moment(at: float, zone: tzinfo | None = None, pattern: str = "%Y-%m-%d %H:%M") -> str:
    """Return a Unix time as people read it."""
    return datetime.fromtimestamp(at, zone).strftime(pattern)


def on_one_day(from_at: float, to_at: float, zone: tzinfo | None = None) -> bool:
    """Return whether a range lies within one date, so that the time of day says all."""
    return datetime.fromtimestamp(from_at, zone).date() == datetime.fromtimestamp(to_at, zone).date()
