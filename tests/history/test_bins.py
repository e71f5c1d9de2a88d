"""What the Day view draws: fractions of bins, against the same from the rows themselves."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.errors import SourceError, SpecError
from streamtag.history import bins as module
from streamtag.history.bins import MAX_BINS, MAX_GAPS, MAX_STREAMS, StreamBins, TimeBins, read_bins
from streamtag.history.reader import HistoryReader
from streamtag.history.schema import open_for_writing
from tests.history.sample import END_AT, write_sample

FROM_AT = 1_800_000_000.0


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of two streams; the second has a pause between two sessions on the last day or before it."""
    path = tmp_path_factory.mktemp("sample") / "history.db"
    write_sample(path, 3, ["bar", "hall"])
    return path


class Rows:
    """A history of one session of "mic" that began at FROM_AT, row by row."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path = path
        self.execute("INSERT INTO model VALUES (1, 'small', '', '[]', '[]')")
        self.execute("INSERT INTO concept VALUES (1, 'guitar', 'instrument'), (2, 'fast', 'mood')")
        self.add_stream(1, "mic", seconds)

    def execute(self, query: str, *values: object) -> None:
        with closing(open_for_writing(self.path)) as connection:
            connection.execute(query, values)

    def add_stream(self, number: int, name: str, seconds: float) -> None:
        self.execute("INSERT INTO stream VALUES (?, ?)", number, name)
        values = number, number, FROM_AT, FROM_AT + seconds, seconds
        self.execute("INSERT INTO session VALUES (?, ?, 1, '', ?, ?, 0, ?, 0, 0)", *values)

    def add_presence(self, concept: int, on_s: float, off_s: float | None) -> None:
        off_ms = None if off_s is None else 1000 * off_s
        self.execute("INSERT INTO presence VALUES (NULL, 1, ?, ?, ?, 230, 204)", concept, 1000 * on_s, off_ms)

    def add_gap(self, start_s: float, lost_s: float) -> None:
        self.execute("INSERT INTO gap VALUES (NULL, 1, ?, ?)", 1000 * start_s, 1000 * lost_s)

    def read(self, from_s: float, to_s: float, resolution_s: float) -> StreamBins:
        (stream,) = read_bins(self.path, TimeBins(FROM_AT + from_s, FROM_AT + to_s, resolution_s)).streams
        return stream


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    return Rows(tmp_path / "history.db", 600.0)


def overlap(bins: TimeBins, starts: Any, ends: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The fraction of each bin, interval by interval."""
    edges = bins.from_at + bins.resolution_s * np.arange(bins.count + 1)
    total = np.zeros(bins.count)
    for start, end in zip(starts, ends, strict=True):
        total += np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None)
    return np.minimum(total / bins.resolution_s, 1)


@pytest.mark.parametrize(("begin", "end", "resolution"), [(86400, 0, 300), (200_000, 113_600, 300), (7300, 3700, 10)])
def test_fractions_and_seconds_are_those_of_the_rows(sample: Path, begin: float, end: float, resolution: float) -> None:
    bins = TimeBins(END_AT - begin, END_AT - end, resolution)
    history = read_bins(sample, bins)
    assert [stream.stream for stream in history.streams] == ["bar", "hall"]
    with HistoryReader(sample) as reader:
        for stream in history.streams:
            sessions = reader.sessions(bins.from_at, bins.to_at, [stream.stream])
            heard = overlap(bins, [each.start_at for each in sessions], [each.last_at for each in sessions])
            assert stream.heard == pytest.approx(heard, abs=1e-6)
            expected: dict[tuple[str, str], list[Any]] = {}
            for each in reader.presences(bins.from_at, bins.to_at, [stream.stream]):
                expected.setdefault((each.concept, each.category), []).append(each)
            assert {(each.concept, each.category) for each in stream.concepts} == set(expected)
            for concept in stream.concepts:
                found = expected[concept.concept, concept.category]
                present = overlap(bins, [each.on_at for each in found], [each.off_at for each in found])
                assert concept.present == pytest.approx(present, abs=1e-6)
                assert concept.seconds == pytest.approx(resolution * concept.present.sum())
            seconds = [concept.seconds for concept in stream.concepts]
            assert seconds == sorted(seconds, reverse=True)
            summary = next(each for each in reader.streams() if each.stream == stream.stream)
            assert (stream.first_at, stream.last_at) == (summary.first_at, summary.last_at)
            gaps = [(gap.at, gap.lost_s) for gap in reader.gaps(bins.from_at, bins.to_at, [stream.stream])]
            assert list(stream.gaps) == gaps
            assert stream.gap_count == len(gaps)
            assert stream.lost_s == pytest.approx(sum(lost for _, lost in gaps))


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(-50, 150), st.floats(-50, 150)), max_size=12))
def test_intervals_fill_bins_as_far_as_they_overlap(intervals: list[tuple[int, float, float]]) -> None:
    bins = TimeBins(0.0, 93.0, 10.0)
    columns = np.array(intervals).reshape(-1, 3)
    found = bins.covered(columns[:, 0].astype(np.intp), columns[:, 1], columns[:, 2], 3)
    for row in range(3):
        own = [each for each in intervals if each[0] == row]
        expected = overlap(bins, [each[1] for each in own], [each[2] for each in own])
        # where intervals overlap, both count in full; only the sum is limited
        assert found[row] == pytest.approx(expected, abs=1e-9)


def test_of_many_gaps_the_longest_are_told(rows: Rows) -> None:
    rows.execute("BEGIN")
    for number in range(MAX_GAPS + 5):
        rows.add_gap(2.0 * number, 1.0 if number < 5 else 1.5)
    stream = rows.read(0.0, 600.0, 10.0)
    assert stream.gaps == tuple((FROM_AT + 2.0 * number, 1.5) for number in range(5, MAX_GAPS + 5))
    assert (stream.gap_count, stream.lost_s) == (MAX_GAPS + 5, 5 + 1.5 * MAX_GAPS)


def test_of_many_streams_those_heard_longest_are_told(rows: Rows) -> None:
    for number in range(2, MAX_STREAMS + 3):
        rows.add_stream(number, f"file {number:02d}.mp3", 10.0 if number == 2 else 20.0 + number)
    history = read_bins(rows.path, TimeBins(FROM_AT, FROM_AT + 600, 10.0))
    assert (len(history.streams), history.left_out) == (MAX_STREAMS, 2)
    assert [each.stream for each in history.streams] == [
        *(f"file {number:02d}.mp3" for number in range(4, MAX_STREAMS + 3)),
        "mic",
    ]


def test_unknown_streams_and_times_without_sound_are_empty(sample: Path) -> None:
    bins = TimeBins(END_AT - 3600, END_AT, 10)
    assert read_bins(sample, bins, ["hall", "nobody"]).streams[0].stream == "hall"
    assert read_bins(sample, bins, ["nobody"]).streams == ()
    later = read_bins(sample, TimeBins(END_AT, END_AT + 3600, 10))
    assert (later.streams, later.last_at) == ((), END_AT)
    assert later.first_at == pytest.approx(END_AT - 3 * 86400)


@pytest.mark.parametrize("query", ["STREAMS", "SESSIONS", "PRESENCES", "GAPS"])
def test_queries_use_the_indexes(sample: Path, query: str) -> None:
    values = {"from_at": END_AT - 86400, "to_at": END_AT, "streams": '["bar"]', "ids": "[1]", "max_presences": 9}
    with closing(sqlite3.connect(sample)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {getattr(module, query)}", values)]
    assert any("session_by_time" in line for line in plan)
    assert all("COVERING INDEX" in line for line in plan if "SEARCH presence" in line)
    assert [line for line in plan if line.split()[:2] in [["SCAN", name] for name in ("session", *TABLES)]] == []


TABLES = ("stream", "presence", "gap")


@pytest.mark.parametrize(
    ("from_at", "to_at", "resolution_s", "message"),
    [
        (2.0, 2.0, 1.0, "from comes before to"),
        (0.0, float("inf"), 1.0, "Unix times"),
        (-1.0, 2.0, 1.0, "Unix times"),
        (0.0, 1e10, 1e9, "at most 31 days"),
        (0.0, 10.0, 0.0, "from 1 on"),
        (0.0, 10.0, float("nan"), "from 1 on"),
        (0.0, MAX_BINS + 0.5, 1.0, f"{MAX_BINS + 1} bins"),
    ],
)
def test_ranges_without_sense_or_end_are_refused(
    from_at: float, to_at: float, resolution_s: float, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        TimeBins(from_at, to_at, resolution_s)


@pytest.mark.parametrize(
    ("limits", "message"),
    [({"max_presences": 100}, "more than 100 events"), ({"max_values": 100}, "too many concepts")],
)
def test_too_much_to_send_is_refused(sample: Path, limits: dict[str, int], message: str) -> None:
    with pytest.raises(SpecError, match=f"^{message}.*: ask for"):
        read_bins(sample, TimeBins(END_AT - 3600, END_AT, 10), **limits)  # type: ignore[arg-type]


def test_a_query_that_is_stopped_ends_with_an_error(sample: Path) -> None:
    with pytest.raises(SourceError, match="interrupted"):
        read_bins(sample, TimeBins(END_AT - 86400, END_AT, 300), should_stop=lambda: True)


def test_a_damaged_history_is_a_clear_error(sample: Path, tmp_path: Path) -> None:
    bins = TimeBins(END_AT - 86400, END_AT, 300)
    path = tmp_path / "damaged.db"
    data = bytearray(sample.read_bytes())
    data[3 * 4096 :] = bytes(len(data) - 3 * 4096)
    path.write_bytes(data)
    with pytest.raises(SourceError, match="malformed"):
        read_bins(path, bins)


def test_values_that_cannot_be_are_a_clear_error(rows: Rows) -> None:
    bins = TimeBins(FROM_AT, FROM_AT + 600, 10)
    rows.add_presence(1, 0.0, 60.0)
    assert len(read_bins(rows.path, bins).streams[0].concepts) == 1
    rows.execute("UPDATE presence SET on_ms = 'soon'")  # text is later than any number
    assert read_bins(rows.path, bins).streams[0].concepts == ()
    for change in ("on_ms = -9e999", "on_ms = 0, off_ms = x'00'", "off_ms = 1e10, concept_id = 7"):
        rows.execute(f"UPDATE presence SET {change}")
        with pytest.raises(SourceError, match="damaged"):
            read_bins(rows.path, bins)
