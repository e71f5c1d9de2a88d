"""A run on a table that exists: it adds and renews rows, keeps the others, and removes none unless it is told to."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import pandas as pd
import pytest

from streamtag.model.model_file import load_tagger, save_tagger
from tests.catalog.conftest import Answer, Catalog, journal_path

FOLDERS = {"one": ("a.wav", "b.wav"), "two": ("c.wav", "d.wav")}


@pytest.fixture
def folders(collection: Path, tmp_path: Path) -> Path:
    """Two folders of two files each, of 0.4 s."""
    for folder, names in FOLDERS.items():
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copyfile(collection / "b" / "short.wav", tmp_path / folder / name)
    return tmp_path


@pytest.fixture
def other_model(model: Path, tmp_path: Path) -> Path:
    network = load_tagger(model)
    network.head.weight.data += 0.1
    save_tagger(network, tmp_path / "other.safetensors")
    return tmp_path / "other.safetensors"


def names_in(table: Path) -> list[str]:
    """Return the names of the files in a table, in order."""
    read: Callable[[Path], pd.DataFrame] = pd.read_parquet if table.suffix == ".parquet" else pd.read_csv
    return [Path(path).name for path in dict.fromkeys(read(table)["path"])]


def summary(answer: Answer) -> str:
    """Return what a run that succeeded says that it did."""
    assert answer.code == 0, answer.err
    return answer.err.splitlines()[-1].partition(": ")[2].partition(": ")[2].partition(";")[0]


def refusal(answer: Answer) -> str:
    """Return the line with which a run was refused."""
    assert answer.code == 1
    (line,) = answer.err.splitlines()
    return line


# --- rows stay ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tags.parquet", "tags.csv"])
def test_other_paths_are_added_to_the_table(catalog: Catalog, folders: Path, name: str) -> None:
    out = folders / name
    assert summary(catalog(folders / "one", "--out", out)) == "added 2"
    assert summary(catalog(folders / "two", "--out", out)) == "added 2, kept 2 from other folders"
    assert names_in(out) == ["a.wav", "b.wav", "c.wav", "d.wav"]
    content = out.read_bytes()
    assert summary(catalog(folders / "two" / "d.wav", "--out", out)) == "unchanged 1, kept 3 from other folders"
    assert out.read_bytes() == content


def test_a_moved_file_is_new_under_its_new_name_and_its_old_row_stays_until_it_is_pruned(
    catalog: Catalog, folders: Path
) -> None:
    out = folders / "tags.csv"
    catalog(folders / "one", "--out", out)
    (folders / "one" / "b.wav").rename(folders / "two" / "moved.wav")
    assert summary(catalog(folders / "two", "--out", out)) == (
        "added 3, kept 1 from other folders, kept 1 of files that no longer exist (--prune removes them)"
    )
    assert names_in(out) == ["a.wav", "b.wav", "c.wav", "d.wav", "moved.wav"]
    assert summary(catalog(folders / "two", "--out", out, "--prune")) == (
        "unchanged 3, kept 1 from other folders, removed 1"
    )
    assert names_in(out) == ["a.wav", "c.wav", "d.wav", "moved.wav"]
    assert "removed" not in summary(catalog(folders / "two", "--out", out, "--prune"))  # and they do not return


def test_every_hard_link_keeps_its_row(catalog: Catalog, folders: Path) -> None:
    out, link = folders / "tags.csv", folders / "two" / "link.wav"
    catalog(folders / "one", "--out", out)
    link.hardlink_to(folders / "one" / "a.wav")
    assert summary(catalog(link, "--out", out)) == "added 1, kept 2 from other folders"
    (folders / "one" / "a.wav").unlink()
    assert "removed 1" in summary(catalog(link, "--out", out, "--prune"))
    assert names_in(out) == ["b.wav", "link.wav"]


def test_relative_and_absolute_paths_are_the_same_files(
    catalog: Catalog, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folders / "tags.csv"
    monkeypatch.chdir(folders)
    catalog("one", "--out", out)
    assert pd.read_csv(out)["path"].tolist() == ["one/a.wav", "one/b.wav"]
    assert summary(catalog("two", "--out", out)) == "added 2, kept 2 from other folders"
    assert pd.read_csv(out)["path"].tolist() == ["one/a.wav", "one/b.wav", "two/c.wav", "two/d.wav"]
    monkeypatch.chdir(folders / "two")
    assert summary(catalog(".", "--out", out)) == "unchanged 2, kept 2 from other folders"
    absolute = [str(folders / "one" / name) for name in FOLDERS["one"]]
    assert pd.read_csv(out)["path"].tolist() == [*absolute, "c.wav", "d.wav"]
    monkeypatch.chdir(folders / "one")
    assert summary(catalog("..", "--out", out)).startswith("added 4, unchanged 4")  # the collection's four files too


def test_a_path_that_is_not_found_prunes_nothing(catalog: Catalog, folders: Path) -> None:
    """It may be a disk that is not mounted."""
    out = folders / "tags.csv"
    catalog(folders / "one", folders / "two", "--out", out)
    shutil.rmtree(folders / "one")
    answer = catalog(folders / "one", folders / "two", "--out", out, "--prune")
    assert answer.code == 1
    assert "--prune removed nothing, since a path was not found" in answer.err
    assert len(names_in(out)) == 4
    assert "removed 2" in summary(catalog(folders / "two", "--out", out, "--prune"))


def test_rows_of_frames_stay_too(catalog: Catalog, folders: Path) -> None:
    out, frames = folders / "tags.csv", folders / "frames.csv"
    catalog(folders / "one", "--out", out, "--frames", frames)
    answer = catalog(folders / "two", "--out", out)
    assert names_in(frames) == ["a.wav", "b.wav"]
    answer = catalog(folders / "one", "--out", out, "--frames", frames)
    assert f"{frames}: is without 2 files tagged without --frames" in answer.err
    assert "renewed 2" in summary(catalog(folders / "two", "--out", out, "--frames", frames))
    assert names_in(frames) == ["a.wav", "b.wav", "c.wav", "d.wav"]
    (folders / "one" / "a.wav").touch()
    catalog(folders / "one", "--out", out)  # without its frames
    assert "has rows of 1 file" in refusal(catalog(folders / "two", "--out", out, "--frames", frames))
    assert "renewed 1" in summary(catalog(folders / "one", "--out", out, "--frames", frames))


# --- tables that are refused --------------------------------------------------------------------------------------


def test_a_table_of_another_model_is_refused_and_replaced_on_request(
    catalog: Catalog, folders: Path, other_model: Path
) -> None:
    out = folders / "tags.parquet"
    catalog(folders / "one", folders / "two", "--out", out)
    first, content = pd.read_parquet(out), out.read_bytes()
    line = refusal(catalog(folders / "one", "--out", out, model=other_model))
    assert line.startswith(f"streamtag: {out}.journal: 4 files of this table were tagged with another model: --replace")
    assert out.read_bytes() == content
    assert summary(catalog(folders / "one", "--out", out, "--replace", model=other_model)) == "renewed 2, removed 2"
    second = pd.read_parquet(out)
    assert names_in(out) == ["a.wav", "b.wav"]
    assert set(first["model"]).isdisjoint(second["model"])
    assert (first["guitar"][:2] - second["guitar"]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("tags.csv", b"path,size\na.wav,3\n", "has other columns than this run writes"),
        ("tags.csv", b"\xff\xfe\x00", "cannot be read as a table"),
        ("tags.csv", b"no table\n", "has other columns than this run writes"),
        ("tags.parquet", b"PAR1 and no more", "cannot be read as a table"),
    ],
)
def test_another_kind_of_file_is_refused_and_left_unchanged(
    catalog: Catalog, folders: Path, name: str, content: bytes, reason: str
) -> None:
    out = folders / name
    out.write_bytes(content)
    line = refusal(catalog(folders / "one", "--out", out))
    assert line.startswith(f"streamtag: {out}: {reason}")
    assert line.endswith("--replace writes it anew from the files named now, another --out leaves it")
    assert out.read_bytes() == content
    assert summary(catalog(folders / "one", "--out", out, "--replace")) == "added 2"


def test_a_table_whose_journal_is_gone_is_refused_unless_all_its_files_are_named(
    catalog: Catalog, folders: Path
) -> None:
    out = folders / "tags.csv"
    catalog(folders / "one", folders / "two", "--out", out)
    journal_path(out).unlink()
    line = refusal(catalog(folders / "one", "--out", out))
    assert f"has rows of 2 files that this run does not know ({folders / 'two' / 'c.wav'}, ...)" in line
    assert summary(catalog(folders / "one", folders / "two", "--out", out)) == "added 4"


def test_the_table_of_another_catalogue_is_not_overwritten_even_if_it_comes_meanwhile(
    catalog: Catalog, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs, shared = (folders / f"{name}.csv" for name in ("mine", "theirs", "shared"))
    catalog(folders / "two", "--out", theirs)
    assert "theirs.csv: has rows of 2 files" in refusal(catalog(folders / "one", "--out", mine, "--out", theirs))
    assert not mine.exists()
    open_container = av.open

    def open_late(*arguments: Any, **options: Any) -> Any:
        shutil.copyfile(theirs, shared)
        return open_container(*arguments, **options)

    monkeypatch.setattr(av, "open", open_late)  # files are decoded between two looks at the tables
    line = refusal(catalog(folders / "one", "--out", mine, "--out", shared))
    assert "shared.csv: has rows of 2 files that this run does not know" in line
    assert names_in(theirs) == names_in(shared) == ["c.wav", "d.wav"]


def test_a_read_only_table_is_refused_before_any_work(
    catalog: Catalog, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folders / "tags.csv"
    catalog(folders / "one", "--out", out)
    entries, content = journal_path(out).read_bytes(), out.read_bytes()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))  # root may write
    assert refusal(catalog(folders / "two", "--out", out)) == f"streamtag: {out}: cannot write: permission denied"
    assert (journal_path(out).read_bytes(), out.read_bytes()) == (entries, content)


def test_the_journal_of_an_earlier_version_is_refused_and_replaced_on_request(catalog: Catalog, folders: Path) -> None:
    out = folders / "tags.csv"
    catalog(folders / "one", "--out", out)
    with closing(sqlite3.connect(journal_path(out))) as database:
        database.execute("PRAGMA user_version = 2")
    old = journal_path(out).read_bytes()
    assert "one of another version of streamtag: --replace begins anew" in refusal(
        catalog(folders / "one", "--out", out)
    )
    assert journal_path(out).read_bytes() == old
    assert summary(catalog(folders / "two", "--out", out, "--replace")) == "added 2"
    assert names_in(out) == ["c.wav", "d.wav"]
    assert summary(catalog(folders / "two", "--out", out)) == "unchanged 2"


# --- runs that are killed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["one"], ["one", "--prune"], ["two", "--replace"]])
def test_a_kill_between_the_table_and_the_journal_loses_nothing(
    catalog: Catalog, folders: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folders / "tags.csv"
    catalog(folders / "one", folders / "two", "--out", out)
    (folders / "two" / "d.wav").unlink()
    monkeypatch.chdir(folders)

    class Kill(BaseException):
        """Stands for the end of the process."""

    def replace_and_die(*paths: Any) -> None:
        replace(*paths)
        raise Kill

    replace = os.replace
    before = out.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_and_die)
        with pytest.raises(Kill):
            catalog(*arguments, "--out", out)
    assert out.read_bytes() != before
    monkeypatch.chdir(folders.parent)
    assert "removed" not in summary(catalog(folders / "one", "--out", out))
    assert names_in(out) == ["a.wav", "b.wav", "c.wav", "d.wav"]  # what was removed is there again: remove it again
