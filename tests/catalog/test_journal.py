"""The journal survives whatever a kill, a crash of the machine or an editor can leave of it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtag.catalog.files import AudioFile
from streamtag.catalog.journal import Journal
from streamtag.catalog.journal_index import read_index
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


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 2000), frames_cut=st.integers(0, 400))
def test_a_journal_cut_anywhere_holds_everything_before_the_cut(cut: int, frames_cut: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "j"
        _fill(folder, range(8))
        path = folder / "entries.jsonl"
        content = path.read_bytes()
        frames_left = len(read_index(folder).frames.read_bytes()) - frames_cut
        header = content.index(b"\n") + 1
        left = content[: max(header, len(content) - cut)]
        path.write_bytes(left)
        frames = folder / "frames-1.f32"
        frames.write_bytes(frames.read_bytes()[: max(0, frames_left)])
        _fill(folder, range(8, 10))
        with Journal(folder) as journal:
            held = [number for number in range(10) if _holds(journal, number)]
        lines = left.count(b"\n") - 1
        ends = np.cumsum([4 * TAGS * (number % 4 + 1) for number in range(8)])
        expected = [number for number in range(8) if number < lines and ends[number] <= frames_left]
        assert held == [*expected, 8, 9]


@settings(max_examples=25, deadline=None)
@given(line=st.integers(0, 7), garbage=st.binary(max_size=80))
def test_a_line_of_garbage_costs_no_other_line(line: int, garbage: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "j"
        _fill(folder, range(8))
        path = folder / "entries.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        lines[1 + line] = garbage.replace(b"\n", b"") + b"\n"
        path.write_bytes(b"".join(lines))
        with Journal(folder) as journal:
            assert [number for number in range(8) if not _holds(journal, number)] == [line]


REST = (
    b'"path":"a","concept_means":null,"present_s":null,"mtime_ns":1,"model":"","seconds":1.0,"warnings":"","error":null'
)


@pytest.mark.parametrize(
    "line",
    [
        b'{"place":"/music/0.wav"}',
        b"[]",
        b"null",
        b'{"place":1,"size":1,"frames":0,"means":null,"frames_at":null,' + REST + b"}",
        b'{"place":"a","size":1,"frames":1,"means":[[1]],"frames_at":null,' + REST + b"}",
        b'{"place":"a","size":1,"frames":9999999999,"means":[1],"frames_at":0,' + REST + b"}",
        b'{"place":"a","size":1,"frames":1,"means":[NaN],"frames_at":null,' + REST + b"}",
        b'{"place":"a","size":1,"frames":1,"means":[1],"frames_at":null,"more":1,' + REST + b"}",
    ],
)
def test_an_invalid_line_is_removed(tmp_path: Path, line: bytes) -> None:
    _fill(tmp_path / "j", range(2))
    with (tmp_path / "j" / "entries.jsonl").open("ab") as file:
        file.write(line + b"\n")
    assert read_index(tmp_path / "j").is_damaged
    with Journal(tmp_path / "j") as journal:
        assert _holds(journal, 0)
        assert _holds(journal, 1)
    assert not read_index(tmp_path / "j").is_damaged


def test_replaced_results_are_removed_once_they_are_the_larger_part(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    for size in (10, 11):
        _fill(folder, range(50), size)
    _fill(folder, range(0))  # as many bytes are current as are replaced: nothing to do yet
    assert (folder / "frames-1.f32").exists()
    _fill(folder, range(50), 12)
    before = sum(path.stat().st_size for path in folder.iterdir())
    with Journal(folder) as journal:
        assert all(_holds(journal, number, 12) for number in range(50))
    assert sorted(path.name for path in folder.iterdir()) == ["entries.jsonl", "folders", "frames-2.f32", "lock"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 0.4 * before


def test_frames_that_several_names_share_count_once(tmp_path: Path) -> None:
    """Otherwise a journal of hard links would never be compacted, and grow without end."""
    folder, links = tmp_path / "j", range(1, 20)
    frames = np.random.default_rng(0).random((2000, TAGS), dtype=np.float32)
    for size in (10, 11, 12):
        with Journal(folder) as journal:
            result = FileResult.of(_file(0, size), MODEL)
            result = journal.add(replace(result, frames=len(frames), means=frames.mean(axis=0)), frames)
            for number in links:
                journal.add(result.named(_file(number, size)), None)
            journal.commit()
    with Journal(folder) as journal:
        assert (folder / "frames-2.f32").read_bytes() == frames.tobytes()
        for number in (0, *links):
            found = journal.find(_file(number, 12), MODEL)
            assert found is not None
            np.testing.assert_array_equal(next(journal.frames(found, TAGS)), frames)


def test_after_a_kill_during_a_rewrite_the_old_files_are_current(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    _fill(folder, range(20))
    (folder / "frames-2.f32").write_bytes(b"half of them")
    (folder / "entries.part").write_bytes(b'{"streamtag catalogue": 2, "frames": 2}\n{"pla')
    with Journal(folder) as journal:
        assert all(_holds(journal, number) for number in range(20))
    assert not (folder / "frames-2.f32").exists()


@pytest.mark.parametrize("text", ["", "x\n", '{"streamtag catalogue": 1, "frames": 1}\n', "[1]\n", '{"frames": 1}\n'])
def test_a_folder_of_another_kind_is_left_unchanged(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "j"
    folder.mkdir()
    (folder / "entries.jsonl").write_text(text)
    with pytest.raises(OutputError, match="not a catalogue's journal, or one of another version"):
        Journal(folder)
    assert (folder / "entries.jsonl").read_text() == text


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "j").touch()
    for folder in (tmp_path / "j", tmp_path / "missing" / "j"):
        with pytest.raises(OutputError, match="cannot write"):
            Journal(folder)


def test_a_removed_result_stays_removed_also_after_a_rewrite(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    _fill(folder, range(6))
    with Journal(folder) as journal:
        journal.remove(_file(number).abspath for number in range(5))
        assert [number for number in range(6) if _holds(journal, number)] == [5]
    assert not read_index(folder).is_damaged
    for _ in range(2):  # from the lines that remove, and from a journal without them
        with Journal(folder) as journal:
            assert [number for number in range(6) if _holds(journal, number)] == [5]
    assert b"removed" not in (folder / "entries.jsonl").read_bytes()
    _fill(folder, range(1))
    with Journal(folder) as journal:
        assert _holds(journal, 0)


def test_a_removal_that_is_cut_off_removes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    _fill(folder, range(2))
    with Journal(folder) as journal:
        journal.remove([_file(0).abspath])
    path = folder / "entries.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    with Journal(folder) as journal:
        assert _holds(journal, 0)
        assert _holds(journal, 1)


def test_the_working_folders_of_all_runs_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [str(tmp_path), str(tmp_path.parent)]
    for place in (*places, places[0]):
        monkeypatch.chdir(place)
        with Journal(tmp_path / "j") as journal:
            assert place in journal.folders
    with (tmp_path / "j" / "folders").open("a") as file:
        file.write('\n"cut of')
    monkeypatch.chdir("/")
    Journal(tmp_path / "j").close()
    with Journal(tmp_path / "j") as journal:
        assert journal.folders == (*places, "/")
