"""Moments as people write them, in a given zone and at a given time."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from streamtag.errors import SpecError
from streamtag.history.times import choose_range, format_moment, on_one_day, parse_moment

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 3, 29, 12, 0, tzinfo=BERLIN).timestamp()  # the clock went from 2:00 to 3:00 in that night
DAY_S = 86_400.0
OLDEST_AT = NOW - 99 * DAY_S


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-03-29T12:00+02:00"),
        ("today", "2026-03-29T00:00+01:00"),
        ("yesterday", "2026-03-28T00:00+01:00"),
        ("yesterday 18:30", "2026-03-28T18:30+01:00"),
        ("18:30", "2026-03-29T18:30+02:00"),
        ("2026-11-27", "2026-11-27T00:00+01:00"),
        (" 2026-07-27 18:30 ", "2026-07-27T18:30+02:00"),
        ("12h", "2026-03-28T23:00+01:00"),  # of the clock only eleven hours before noon
        ("1.5h", "2026-03-29T10:30+02:00"),
        ("2:30", "2026-03-29T03:30+02:00"),  # there was no such time in that night
        ("2025-10-26 02:30", "2025-10-26T02:30+02:00"),  # there were two
    ],
)
def test_a_moment(text: str, expected: str) -> None:
    assert parse_moment(text, NOW, BERLIN) == datetime.fromisoformat(expected).timestamp()


def test_without_a_zone_it_is_that_of_the_machine() -> None:
    assert parse_moment("2026-07-27 18:30", NOW) == datetime(2026, 7, 27, 18, 30).timestamp()
    assert format_moment(parse_moment("2026-07-27 18:30", NOW)) == "2026-07-27 18:30"


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "soon", "2026-13-01", "2026-02-30", "25:00", "12:60", "18", "1830", "-2h", "2w", "2 h", "27.11."),
        *("2026-11-2718:30", "9999999d", "today yesterday", "20261127", "２h", "0001-01-01 25:00", "18:30 today"),
    ],
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(SpecError, match="is not a time: "):
        parse_moment(text, NOW, BERLIN)


def test_a_moment_before_unix_time_is_its_beginning() -> None:
    assert parse_moment("1815-12-10", NOW, BERLIN) == parse_moment("99999d", NOW, BERLIN) == 0.0


@pytest.mark.parametrize(
    ("since", "until", "newest_at", "expected"),
    [
        (None, None, NOW - 60, (NOW - DAY_S, NOW)),
        (None, None, NOW - 40 * DAY_S, (NOW - 41 * DAY_S, NOW - 40 * DAY_S)),  # all of it is old
        (None, None, NOW + 7200, (NOW - DAY_S, NOW + 7200)),  # files that play until then
        (NOW - 10, None, NOW + 60, (NOW - 10, NOW + 60)),
        (None, NOW - 10, NOW, (NOW - 10 - DAY_S, NOW - 10)),
        (NOW - 20, NOW - 10, NOW, (NOW - 20, NOW - 10)),
    ],
)
def test_the_range(since: float | None, until: float | None, newest_at: float, expected: tuple[float, float]) -> None:
    assert choose_range(since, until, NOW, OLDEST_AT, newest_at) == expected


def test_the_default_begins_with_what_is_stored() -> None:
    assert choose_range(None, None, NOW, NOW - 60, NOW - 30) == (NOW - 60, NOW)
    assert choose_range(None, NOW - 90, NOW, NOW - 60, NOW - 30) == (NOW - 90 - DAY_S, NOW - 90)  # nothing is in it


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(SpecError, match="--since must be before --until"):
        choose_range(NOW, NOW, NOW, OLDEST_AT, NOW)


def test_one_day_is_one_date_of_the_zone() -> None:
    noon = datetime(2026, 3, 29, 12, tzinfo=BERLIN).timestamp()
    assert on_one_day(noon - 11 * 3600, noon + 11 * 3600, BERLIN)
    assert not on_one_day(noon - 11 * 3600, noon + 11 * 3600, ZoneInfo("America/New_York"))
    assert format_moment(noon, ZoneInfo("Asia/Tokyo")) == "2026-03-29 19:00"
