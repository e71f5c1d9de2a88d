"""Totals of a range: cut at its ends, without what was lost, in the order of display."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from streamtag.history.bins import TimeBins, read_bins
from streamtag.history.reader import HistoryReader, Presence
from streamtag.history.schema import open_for_writing
from streamtag.history.totals import StreamTotal, summarize
from tests.history.sample import END_AT, write_sample

SESSION = "INSERT INTO session VALUES (?, ?, 1, '', ?, ?, ?, ?, 0, ?)"
PRESENCE = "INSERT INTO presence (session_id, concept_id, on_ms, off_ms, peak, mean)"


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Return two sessions of `mic`, and a later one of `web` that was killed."""
    path = tmp_path / "h.sqlite"
    with closing(open_for_writing(path)) as connection:
        connection.execute("INSERT INTO model VALUES (1, 'small', '', '[]', '[]')")
        connection.executemany("INSERT INTO stream VALUES (?, ?)", [(1, "mic"), (2, "web")])
        concepts = [(1, "calm", "mood"), (2, "drums", "instrument"), (3, "harp", "instrument")]
        connection.executemany("INSERT INTO concept VALUES (?, ?, ?)", concepts)
        sessions = [(1, 1, 1000, 1100, 0, 100, 1), (2, 1, 2000, 2300, 100, 400, 1), (3, 2, 2000, 2090, 0, 90, 0)]
        connection.executemany(SESSION, sessions)
        gap = "INSERT INTO gap (session_id, start_ms, lost_ms) VALUES (?, ?, ?)"
        connection.executemany(gap, [(1, 50_000, 4000), (2, 100_000, 1500), (2, 200_000, 2500)])
        rows = [
            (1, 1, 0, 60_000, 128, 128),
            (1, 2, 10_000, 20_000, 128, 128),
            (1, 3, 10_000, 40_000, 128, 128),
            (2, 2, 0, 50_000, 128, 128),
            (3, 3, 10_000, None, 128, 128),
        ]
        connection.executemany(f"{PRESENCE} VALUES (?, ?, ?, ?, ?, ?)", rows)
    return path


def _totals(path: Path, from_at: float, to_at: float) -> list[StreamTotal]:
    with HistoryReader(path) as reader:
        return summarize(reader, from_at, to_at)


def test_the_whole(history: Path) -> None:
    mic, web = _totals(history, 0, 5000)
    assert (mic.stream, mic.first_at, mic.last_at) == ("mic", 1000, 2300)
    assert (mic.heard_s, mic.lost_s, mic.gaps) == (100 + 300 - 8, 8.0, 3)
    shown = [(total.concept, total.seconds, total.times, total.first_at, total.last_at) for total in mic.concepts]
    assert shown == [("drums", 60, 2, 1010, 2050), ("harp", 30, 1, 1010, 1040), ("calm", 60, 1, 1000, 1060)]
    assert mic.concepts[0].share == pytest.approx(60 / 392)
    assert (web.heard_s, web.concepts[0].seconds, web.concepts[0].last_at) == (90, 80, 2090)


def test_a_part_is_cut_at_both_ends(history: Path) -> None:
    (mic,) = _totals(history, 1015, 1050)
    assert (mic.first_at, mic.last_at, mic.heard_s, mic.gaps) == (1015, 1050, 35, 0)
    assert {total.concept: total.seconds for total in mic.concepts} == {"drums": 5, "harp": 25, "calm": 35}
    assert mic.concepts[-1].share == 1.0


def test_consumers_get_every_presence_as_a_whole(history: Path) -> None:
    found: list[Presence] = []
    with HistoryReader(history) as reader:
        summarize(reader, 1015, 1050, ["mic", "web"], ["calm", "harp"], [found.append])
    assert [(each.concept, each.on_at, each.off_at) for each in found] == [("harp", 1010, 1040), ("calm", 1000, 1060)]


def test_the_page_has_the_same_figures(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    write_sample(path, 2, ("club", "radio"), seed=7)
    bins = TimeBins(END_AT - 86_400, END_AT - 300, 300)
    day = read_bins(path, bins)
    for total, stream in zip(_totals(path, bins.from_at, bins.to_at), day.streams, strict=True):
        assert (total.stream, total.gaps) == (stream.stream, stream.gap_count)
        assert total.lost_s == pytest.approx(stream.lost_s)
        assert total.heard_s + total.lost_s == pytest.approx(bins.resolution_s * stream.heard.sum(), abs=1)
        seconds = {each.concept: each.seconds for each in stream.concepts}
        assert {each.concept: each.seconds for each in total.concepts} == pytest.approx(seconds, abs=0.01)
