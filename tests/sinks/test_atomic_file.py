"""Result files: whole or not there, never over an input."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from streamtag.errors import OutputError, SpecError
from streamtag.sinks.atomic_file import AtomicFile, check_target, check_targets


@pytest.mark.parametrize("fails", [False, True])
def test_the_file_appears_when_it_is_complete_and_the_old_one_stays_after_an_error(tmp_path: Path, fails: bool) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("old", encoding="utf-8")
    with suppress(ZeroDivisionError), AtomicFile(path) as result:
        result.file.write("nëw\n")
        result.file.flush()
        assert path.read_text(encoding="utf-8") == "old"
        if fails:
            raise ZeroDivisionError
    assert path.read_bytes() == ("old" if fails else "nëw\n").encode()
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_of_an_old_file_are_kept(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.touch()
    old.chmod(0o640)
    umask = os.umask(0o022)
    try:
        for path in (old, new):
            with AtomicFile(path):
                pass
    finally:
        os.umask(umask)
    assert [path.stat().st_mode & 0o777 for path in (old, new)] == [0o640, 0o644]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.touch()
    link.symlink_to(real)
    with AtomicFile(link) as result:
        result.file.write("x")
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8") == "x"


def test_a_named_pipe_is_written_through(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text(encoding="utf-8")))
    reader.start()
    with AtomicFile(pipe) as result:
        result.file.write("through")
    reader.join(10)
    assert got == ["through"]
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["", "no/such/folder/tags.csv", "file/tags.csv", "x" * 300])
def test_a_path_that_cannot_be_written_is_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises(OutputError, match="cannot write") as failure:
        check_target(path)
    assert "\n" not in str(failure.value)
    with pytest.raises(OutputError, match="cannot write"):
        AtomicFile(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_an_input_is_never_overwritten(tmp_path: Path) -> None:
    song, link, hard = tmp_path / "song.mp3", tmp_path / "link.csv", tmp_path / "hard.csv"
    song.touch()
    link.symlink_to(song)
    hard.hardlink_to(song)
    for target in (song, tmp_path / "x" / ".." / "song.mp3", link, hard):
        with pytest.raises(SpecError, match="is one of the inputs"):
            check_targets([target], ["https://example.org/song.mp3", str(song)])
    check_targets([tmp_path / "song.csv"], [str(song), "-"])


def test_two_outputs_need_two_files(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="named for two results"):
        check_targets([tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "a.csv"], [])
    check_targets([Path(os.devnull), Path(os.devnull)], [])
