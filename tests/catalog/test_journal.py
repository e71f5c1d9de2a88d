"""The journal keeps what was committed, and nothing that was replaced."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.catalog.files import AudioFile
from streamtag.catalog.journal import Journal
from streamtag.catalog.result import FileResult
from streamtag.errors import OutputError

MODEL = "0123456789abcdef"
TAGS = 5


def _file(number: int, size: int = 10) -> AudioFile:
    return AudioFile(f"{number}.wav", f"/music/{number}.wav", size, 1_700_000_000_123_456_789, (1, number))


def _result(number: int, size: int = 10) -> tuple[FileResult, NDArray[np.float32]]:
    frames = np.random.default_rng(number * 100 + size).random((number % 4 + 1, TAGS), dtype=np.float32)
    result = FileResult.of(_file(number, size), MODEL)
    means, concepts = frames.mean(axis=0), frames[0, :2]
    result = replace(result, seconds=1.5, frames=len(frames), means=means)
    return replace(result, concept_means=concepts, present_s=3 * concepts), frames


def _fill(folder: Path, numbers: range, size: int = 10) -> None:
    with Journal(folder) as journal:
        for number in numbers:
            journal.add(*_result(number, size))
        journal.commit()


def _holds(journal: Journal, number: int, size: int = 10) -> bool:
    """Return whether the result is there; it must be right if it is."""
    found = journal.find(_file(number, size), MODEL)
    if found is None:
        return False
    result, frames = _result(number, size)
    assert (found.seconds, found.frames, found.error) == (result.seconds, result.frames, None)
    for name in ("means", "concept_means", "present_s"):
        np.testing.assert_array_equal(getattr(found, name), getattr(result, name))
    np.testing.assert_array_equal(np.concatenate(list(journal.frames(found, TAGS, rows=2))), frames)
    return True


def test_only_committed_results_are_there_in_the_next_run(tmp_path: Path) -> None:
    _fill(tmp_path / "j", range(10))
    with Journal(tmp_path / "j") as journal:
        assert all(_holds(journal, number) for number in range(10))
        journal.add(*_result(10))
        assert journal.find(_file(3, size=11), MODEL) is None
        assert journal.find(_file(3), "another model") is None
    with Journal(tmp_path / "j") as journal:
        assert not _holds(journal, 10)


def test_the_space_of_replaced_results_is_used_again_or_given_back(tmp_path: Path) -> None:
    path = tmp_path / "j"
    _fill(path, range(400))
    before = path.stat().st_size
    for size in range(11, 14):
        _fill(path, range(400), size)
    assert path.stat().st_size < 1.5 * before
    with Journal(path) as journal:
        assert all(_holds(journal, number, 13) for number in range(400))
        journal.remove(_file(number).abspath for number in range(5, 400))
    with Journal(path) as journal:
        assert [number for number in range(400) if _holds(journal, number, 13)] == [*range(5)]
    assert path.stat().st_size < 0.3 * before
    _fill(path, range(7, 8))
    with Journal(path) as journal:
        assert _holds(journal, 7)


def test_frames_that_several_names_share_are_stored_once_and_go_with_the_last_name(tmp_path: Path) -> None:
    path, frames = tmp_path / "j", np.random.default_rng(0).random((2000, TAGS), dtype=np.float32)
    with Journal(path) as journal:
        result = FileResult.of(_file(0), MODEL)
        result = journal.add(replace(result, frames=len(frames), means=frames.mean(axis=0)), frames)
        for number in range(1, 20):
            journal.add(result.named(_file(number)), None)
        journal.commit()
    assert path.stat().st_size < 3 * frames.nbytes
    with Journal(path) as journal:
        journal.remove([_file(0).abspath])
        found = journal.find(_file(19), MODEL)
        assert found is not None
        np.testing.assert_array_equal(next(journal.frames(found, TAGS)), frames)
        journal.remove(_file(number).abspath for number in range(1, 20))
    Journal(path).close()
    assert path.stat().st_size < frames.nbytes


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"x" * 5000, None])
def test_a_file_of_another_kind_is_left_unchanged_unless_it_is_to_be_replaced(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "j"
    if content is not None:
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE other (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="not a catalogue's journal, or one of another version"):
        Journal(path)
    assert path.read_bytes() == before
    with Journal(path, replace=True) as journal:
        assert not journal.entries


def test_a_damaged_journal_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "j"
    _fill(path, range(50))
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(OutputError, match="is damaged"):
        Journal(path)


def test_a_file_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "j").mkdir()
    for folder in (tmp_path / "j", tmp_path / "missing" / "j"):
        with pytest.raises(OutputError, match="cannot write"):
            Journal(folder)
