"""The tables of a history at several widths."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from streamtag.history.totals import ConceptTotal, StreamTotal
from streamtag.terminal.history_table import history_lines

START = datetime(2026, 11, 27, 8, tzinfo=UTC).timestamp()
CONCEPTS = (
    ConceptTotal("drums", "instrument", 3700.4, 0.5, 12, START, START + 7000),
    ConceptTotal("a very long name that is cut", "instrument", 61.0, 0.004, 1, START + 60, START + 121),
    ConceptTotal("calm", "mood", 30.0, 0.002, 1, START + 60, START + 90),
)
RADIO = StreamTotal("radio", START, START + 7200, 7195.0, 5.0, 2, CONCEPTS)
LONG = replace(RADIO, last_at=START + 86_400)
SILENT = StreamTotal("line\nin", START, START + 60, 60.0, 0.0, 0, ())


def _lines(width: int, *totals: StreamTotal) -> list[str]:
    return [line.plain for line in history_lines(totals, START, START + 7200, width, UTC)]


def test_a_table_per_stream() -> None:
    assert _lines(100, RADIO, SILENT) == [
        "2026-11-27 08:00 to 2026-11-27 10:00",
        "",
        "radio  heard 1:59:55, 0:05 lost in 2 gaps",
        "                concept                   present  share  times  first   last",
        "instruments     drums                     1:01:40    50%     12  08:00  09:56",
        "                a very long name that is     1:01     0%      1  08:01  08:02",
        "mood and tempo  calm                         0:30     0%      1  08:01  08:01",
        "",
        "line?in  heard 1:00",
        "nothing was present",
    ]


@pytest.mark.parametrize("width", [200, 80, 75, 65, 55, 42])
def test_columns_make_room(width: int) -> None:
    lines = _lines(width, LONG)  # over midnight: the date is told
    assert width < 200 or lines[4].endswith("  11-27 08:00  11-27 09:56")
    assert max(map(len, lines[3:])) <= width
    assert lines[4].split("drums")[1].split()[:2] == ["1:01:40", "50%"]
    assert ("instruments" in lines[4]) == (width > 60)


def test_tags_have_no_categories() -> None:
    tag = ConceptTotal("guitar", "", 30.0, 0.002, 1, START, START + 30)
    assert _lines(80, StreamTotal("radio", START, START + 60, 60.0, 0.0, 0, (tag,)))[3:] == [
        "concept  present  share  times  first   last",
        "guitar      0:30     0%      1  08:00  08:00",
    ]
