"""A history is created, recognised, migrated, and never mistaken for something else."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from streamtag.errors import OutputError, SourceError
from streamtag.history.schema import MIGRATIONS, open_for_reading, open_for_writing

NEWER = (*MIGRATIONS, "ALTER TABLE session ADD COLUMN note TEXT NOT NULL DEFAULT '';")


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def test_a_new_history_can_be_written_and_read_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with closing(open_for_writing(path)) as writer, closing(open_for_reading(path)) as reader:
        writer.execute("INSERT INTO stream (name) VALUES ('radio')")
        assert reader.execute("SELECT name FROM stream").fetchall() == [("radio",)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("INSERT INTO stream (name) VALUES ('other')")


def test_an_older_history_is_migrated_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with closing(open_for_writing(path)) as old:
        old.execute("INSERT INTO stream (name) VALUES ('radio')")
    with pytest.raises(SourceError, match="older version"):
        open_for_reading(path, NEWER)
    with closing(open_for_writing(path, NEWER)) as new:
        assert _columns(new, "session")[-1] == "note"
        assert new.execute("SELECT name FROM stream").fetchall() == [("radio",)]
    with pytest.raises(OutputError, match="newer streamtag"):
        open_for_writing(path)
    with pytest.raises(SourceError, match="newer streamtag"):
        open_for_reading(path)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    broken = (*MIGRATIONS, "ALTER TABLE session ADD COLUMN note TEXT; ALTER TABLE nothing ADD COLUMN x TEXT;")
    open_for_writing(path).close()
    with pytest.raises(sqlite3.OperationalError, match="nothing"):
        open_for_writing(path, broken)
    with closing(open_for_writing(path)) as connection:
        assert "note" not in _columns(connection, "session")


def test_programs_that_create_a_history_at_the_same_time_all_succeed(tmp_path: Path) -> None:
    path, barrier = tmp_path / "h.sqlite", threading.Barrier(4)

    def create(number: int) -> None:
        barrier.wait(20)
        with closing(open_for_writing(path)) as connection:
            connection.execute("INSERT INTO stream (name) VALUES (?)", (f"radio {number}",))

    for _ in range(10):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(create, range(4)))
        with closing(open_for_reading(path)) as reader:
            assert reader.execute("SELECT count(*) FROM stream").fetchone() == (4,)
            assert reader.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        path.unlink()


def _write_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE session (id INTEGER)")


def _cut(path: Path) -> None:
    open_for_writing(path).close()
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: path.write_bytes(b"just text, long enough to be read as a header" * 20), "another file"),
        (lambda path: path.write_bytes(b"ID3\x03"), "another file"),
        (_write_database, "the database of another program"),
    ],
)
def test_what_is_no_history_is_left_alone(tmp_path: Path, write: Callable[[Path], object], reason: str) -> None:
    path = tmp_path / "h.sqlite"
    write(path)
    content = path.read_bytes()
    with pytest.raises(OutputError, match=f"not a history, but {reason}"):
        open_for_writing(path)
    with pytest.raises(SourceError, match=f"not a history, but {reason}"):
        open_for_reading(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: None, "no such file, not a history"),
        (Path.mkdir, "is a folder, not a history"),
        (Path.touch, "not a history"),
        (_cut, "a damaged database: database disk image is malformed"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    path = tmp_path / "h.sqlite"
    make(path)
    with pytest.raises(SourceError, match=f"^{path}: {reason}$"):
        open_for_reading(path)
