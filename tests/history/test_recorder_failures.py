"""Whatever happens to its file, a recorder says so once, goes on, and stores what it kept when it can."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from streamtag.protocol.messages import Message
from tests.conftest import LimitFileSize
from tests.history.conftest import START_AT, Recording, end, frame, switch

BUSY_TIMEOUT_S = 0.01  # nobody releases a lock meanwhile
BEFORE: list[Message] = [frame(0, 0.9), frame(1, 0.9), switch(1, "on")]
MEANWHILE: list[Message] = [frame(5, 0.5), switch(5, "off"), frame(6, 0.9), switch(6, "on")]
AFTER: list[Message] = [frame(10, 0.7), switch(10, "off")]
LATER: list[Message] = [*(frame(number) for number in range(12, 16)), end(16)]


def _lock(path: Path, limit: LimitFileSize) -> Callable[[], None]:  # noqa: ARG001
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other.close


def _fill_disk(path: Path, limit: LimitFileSize) -> Callable[[], None]:  # noqa: ARG001
    limit(1000)
    return lambda: limit(None)


def _replace(path: Path, limit: LimitFileSize) -> Callable[[], None]:  # noqa: ARG001
    other = path.with_name("other.sqlite")
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE something (x)")
    connection.close()
    other.replace(path)
    return path.unlink


def _remove_folder(path: Path, limit: LimitFileSize) -> Callable[[], None]:  # noqa: ARG001
    shutil.rmtree(path.parent)
    return path.parent.mkdir


@pytest.mark.parametrize(
    ("break_file", "reason"),
    [
        (_lock, "database is locked"),
        (_fill_disk, "disk I/O error|disk is full"),
        (_replace, "the database of another program"),
        (_remove_folder, "unable to open database file"),
    ],
)
def test_a_problem_is_reported_once_and_nothing_is_lost(
    tmp_path: Path,
    limit_file_size: LimitFileSize,
    break_file: Callable[[Path, LimitFileSize], Callable[[], None]],
    reason: str,
) -> None:
    """Of a file that is gone only the rows are missing that were complete before."""
    (tmp_path / "folder").mkdir()
    recording = Recording(tmp_path / "folder" / "h.sqlite", busy_timeout_s=BUSY_TIMEOUT_S)
    recording.play(BEFORE)
    recording.wait(1.0)
    repair = break_file(recording.path, limit_file_size)
    recording.play(MEANWHILE)
    for _ in range(5):
        recording.wait(1.0)
    (problem,) = recording.reports
    assert re.fullmatch(f"{recording.path}: .*({reason}); what is heard waits in memory", problem)
    repair()
    recording.play(AFTER)
    recording.wait(1.0)
    assert recording.reports[1:] == [f"{recording.path}: can be written again"]
    recording.play(LATER)
    recording.recorder.close()
    assert recording.rows("SELECT on_s, off_s, round(peak, 2) FROM heard ORDER BY on_s") == [
        (0.256, 1.28, 0.9),
        (1.536, 2.56, 0.9),
    ]
    assert recording.rows("SELECT frames, start_at, last_s, has_ended FROM session") == [(9, START_AT, 4.096, 1)]
    assert recording.rows("SELECT frames FROM minute") == [(9,)]
    assert recording.rows("PRAGMA integrity_check") == [("ok",)]
    assert len(recording.reports) == 2


def test_a_damaged_file_is_reported_and_left_alone_until_somebody_removes_it(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "h.sqlite")
    recording.play(BEFORE)
    recording.recorder.close()
    content = bytearray(recording.path.read_bytes())
    content[4096:] = b"damage" * (len(content) // 6 - 682)
    recording.path.write_bytes(content)
    recording = Recording(recording.path)
    recording.play(MEANWHILE)
    for _ in range(3):
        recording.wait(1.0)
    (problem,) = recording.reports
    assert "malformed" in problem
    assert recording.path.read_bytes()[4096:] == content[4096:]
    recording.path.unlink()
    recording.play(LATER)
    recording.recorder.close()
    assert recording.rows("SELECT frames, has_ended FROM session") == [(6, 1)]


def _delete_rows(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.executescript("DELETE FROM session; DELETE FROM presence; DELETE FROM stream")


@pytest.mark.parametrize("delete", [Path.unlink, _delete_rows])
def test_what_somebody_deleted_is_stored_again(recording: Recording, delete: Callable[[Path], None]) -> None:
    recording.play(BEFORE)
    recording.wait(1.0)
    delete(recording.path)
    recording.play(MEANWHILE)
    recording.wait(1.0)
    assert recording.rows("SELECT name, frames FROM session JOIN stream ON stream_id = stream.id") == [("radio", 4)]
    assert recording.rows("SELECT off_s FROM heard ORDER BY on_s") == [(1.28,), (None,)]
    assert recording.reports == []


def test_rows_beyond_what_memory_may_hold_are_given_up_and_counted(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "h.sqlite", max_waiting=4, busy_timeout_s=BUSY_TIMEOUT_S)
    release = _lock(recording.path, lambda _: None)
    for number in range(0, 20, 2):
        recording.play([frame(number, 0.5), switch(number, "on"), frame(number + 1), switch(number + 1, "off")])
    release()
    recording.wait(1.0)
    assert len(recording.rows("SELECT * FROM presence")) == 4
    release = _lock(recording.path, lambda _: None)
    recording.play([end(20)])
    recording.recorder.close()
    release()
    assert recording.reports[-2:] == [
        f"{recording.path}: cannot be written: database is locked; what is heard waits in memory",
        f"{recording.path}: 8 rows could not be stored",
    ]


def test_a_file_that_is_locked_at_the_start_is_written_later(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "h.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    recording = Recording(tmp_path / "h.sqlite", busy_timeout_s=BUSY_TIMEOUT_S)
    recording.play(BEFORE)
    other.close()
    recording.play(AFTER)
    recording.recorder.close()
    assert recording.rows("SELECT frames FROM session") == [(3,)]
    assert len(recording.reports) == 2


def test_frames_that_did_not_come_are_counted(recording: Recording) -> None:
    recording.play([frame(0), replace(frame(9), dropped=8)])
    recording.recorder.close()
    assert recording.reports == [f"{recording.path}: 8 frames did not come in time to be stored"]
