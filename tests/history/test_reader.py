"""What is read from a history, also while it is written, and from damaged files."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamtag.errors import SourceError
from streamtag.history.reader import PAGE_ROWS, HistoryReader, Presence
from streamtag.history.schema import open_for_writing
from tests.history.sample import DAY_S, END_AT, write_sample

STREAMS = ("club", "radio")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("history") / "h.sqlite"
    write_sample(path, 3, STREAMS, end_at=END_AT, seed=1)
    return path


@pytest.fixture
def reader(sample: Path) -> Iterator[HistoryReader]:
    with HistoryReader(sample) as reader:
        yield reader


def _plain(path: Path) -> list[tuple[Any, ...]]:
    """Return the presences by the view, open ones until the end of their session."""
    query = "SELECT stream, concept, category, on_at, off_at, peak, mean, session_id FROM heard"
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def _values(presence: Presence) -> tuple[Any, ...]:
    return tuple(vars(presence).values())


@pytest.mark.parametrize(
    ("from_at", "to_at"),
    [(END_AT - DAY_S, END_AT), (END_AT - 2.2 * DAY_S, END_AT - 2.1 * DAY_S), (0, 2 * END_AT), (END_AT, END_AT + 1)],
)
def test_presences_are_those_that_have_a_part_in_the_range(
    sample: Path, reader: HistoryReader, from_at: float, to_at: float
) -> None:
    found = [_values(presence) for presence in reader.presences(from_at, to_at)]
    assert len(found) == len(set(found))
    expected = [row for row in _plain(sample) if row[4] > from_at and row[3] < to_at]
    assert set(found) == set(expected)
    assert (len(expected) > 100) == (from_at < END_AT)
    if from_at == 0:
        rows_per_session = Counter(row[-1] for row in expected)
        assert max(rows_per_session.values()) > PAGE_ROWS


def test_what_only_touches_a_range_is_not_in_it(reader: HistoryReader) -> None:
    for presence in list(reader.presences(END_AT - 3600, END_AT, ["radio"]))[:100]:
        before, within, after = (
            any(_values(each) == _values(presence) for each in reader.presences(begin, end, ["radio"]))
            for begin, end in (
                (presence.on_at - 1, presence.on_at),
                (presence.off_at - 0.001, presence.off_at + 1),
                (presence.off_at, presence.off_at + 1),
            )
        )
        assert (before, within, after) == (False, True, False)


def test_streams_and_concepts_are_chosen_by_name(reader: HistoryReader) -> None:
    found = list(reader.presences(0, END_AT, ["radio", "unknown"], ["drums", "piano"]))
    assert {presence.stream for presence in found} == {"radio"}
    assert {(presence.concept, presence.category) for presence in found} == {
        ("drums", "instrument"),
        ("piano", "instrument"),
    }


def test_streams_sessions_gaps_and_concepts(sample: Path, reader: HistoryReader) -> None:
    club, radio = reader.streams()
    assert (club.stream, radio.stream) == STREAMS
    assert (club.first_at, club.last_at) == (END_AT - 3 * DAY_S, END_AT)
    sessions = reader.sessions(0, 2 * END_AT)
    assert [session.stream for session in sessions] == ["club"] * club.sessions + ["radio"] * radio.sessions
    assert not sessions[0].has_ended
    assert reader.sessions(END_AT - 60, END_AT, ["radio"]) == sessions[-1:]
    query = """
        SELECT round(start_at + start_ms / 1000.0, 3) AS at, lost_ms / 1000.0 FROM gap
        JOIN session ON session.id = session_id WHERE at < ? ORDER BY session_id, at
    """
    with closing(sqlite3.connect(sample)) as connection:
        gaps = connection.execute(query, (END_AT - DAY_S,))
        assert [(gap.at, gap.lost_s) for gap in reader.gaps(0, END_AT - DAY_S)] == gaps.fetchall() != []
    assert list(reader.concepts().items())[:2] == [("guitar", "instrument"), ("classical", "genre")]


def test_a_killed_session_ends_its_presences(sample: Path, reader: HistoryReader) -> None:
    killed = reader.sessions(0, 2 * END_AT)[0]
    with closing(sqlite3.connect(sample)) as connection:
        (on_at,) = connection.execute(
            "SELECT on_at FROM heard WHERE session_id = ? AND off_s IS NULL", (killed.id,)
        ).fetchone()
    (still_on,) = (each for each in reader.presences(on_at, END_AT, ["club"]) if each.on_at == on_at)
    assert still_on.off_at == killed.last_at


def test_a_writer_goes_on_while_a_reader_is_in_the_middle(sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    path.write_bytes(sample.read_bytes())
    with closing(open_for_writing(path)) as writer, HistoryReader(path) as reader:
        presences = reader.presences(END_AT - DAY_S, END_AT)
        still_on = next(presences)
        writer.execute("UPDATE presence SET off_ms = on_ms + 1000 WHERE off_ms IS NULL")
        assert writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0  # no reader is in the way
        assert still_on not in presences  # it went off meanwhile and is not yielded again
        writer.execute("UPDATE presence SET peak = 51")
        assert {presence.peak for presence in reader.presences(END_AT - DAY_S, END_AT)} == {0.2}


def _read_everything(path: Path) -> None:
    with HistoryReader(path) as reader:
        reader.streams()
        reader.concepts()
        list(reader.gaps(0, 2 * END_AT))
        list(reader.presences(0, 2 * END_AT))


def test_a_damaged_file_is_an_error_of_the_source(sample: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    content, path = sample.read_bytes(), tmp_path / "h.sqlite"
    errors: set[str] = set()
    for attempt in range(60):
        damaged = bytearray(content)
        for _ in range(20):
            start = int(random.integers(100 if attempt % 2 else 0, len(content)))
            damaged[start : start + 512] = random.bytes(len(damaged[start : start + 512]))
        del damaged[len(content) if attempt % 3 else int(random.integers(len(content))) :]
        path.write_bytes(damaged)
        try:
            _read_everything(path)
        except SourceError as error:
            errors.add(str(error))
    assert len(errors) > 1
    assert all(error.startswith(f"{path}: ") and "\n" not in error for error in errors)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE presence SET on_ms = -1e300",
        "UPDATE presence SET off_ms = 1e300",
        "UPDATE presence SET peak = x'00'",
        "UPDATE gap SET lost_ms = 'much'",
        "UPDATE stream SET name = x'ff' || id",
        "UPDATE concept SET name = CAST(x'ff' || id AS TEXT)",
        "UPDATE session SET last_at = -9e999, start_at = -9e999",
        "UPDATE model SET concepts = '[{}]'",
        "UPDATE model SET concepts = '['",
        "DROP TABLE presence",
    ],
)
def test_values_that_cannot_be_are_an_error_of_the_source(sample: Path, tmp_path: Path, change: str) -> None:
    path = tmp_path / "h.sqlite"
    path.write_bytes(sample.read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(change)
        connection.commit()
    with pytest.raises(SourceError, match=r"cannot be"):
        _read_everything(path)
