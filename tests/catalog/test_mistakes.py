"""What cannot be heard, read or written: told, and the rest is done."""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamtag.catalog.files import Collection

Catalog = Callable[..., Any]


def test_only_the_first_failures_are_told_one_by_one(catalog: Catalog, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.mp3").touch()
    answer = catalog(tmp_path, "--out", tmp_path / "tags.csv")
    assert answer.code == 1
    assert answer.err.count("is empty") == 20
    assert "10 more failed: see the column `error`" in answer.err
    with (tmp_path / "tags.csv").open() as file:
        assert [row["error"] for row in csv.DictReader(file)] == ["is empty"] * 30


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_what_has_no_end_is_refused_and_the_rest_is_done(catalog: Catalog, collection: Path, tmp_path: Path) -> None:
    os.mkfifo(collection / "pipe.wav")
    (collection / "zero.wav").symlink_to("/dev/zero")
    named = catalog(collection / "pipe.wav", "/dev/zero", collection / "a.wav", "--out", tmp_path / "a.csv")
    assert named.code == 1
    assert named.err.count("not a plain file: it may have no end") == 2
    searched = catalog(collection, "--out", tmp_path / "b.csv")
    assert searched.code == 0
    assert "4 of 4 files" in searched.err


@pytest.mark.parametrize("argument", ["https://example.org/a.mp3", "-", "missing.mp3"])
def test_an_argument_that_is_no_file_is_an_error_and_the_rest_is_done(
    catalog: Catalog, collection: Path, tmp_path: Path, argument: str
) -> None:
    answer = catalog(argument, collection, "--out", tmp_path / "tags.csv")
    assert answer.code == 1
    assert "4 of 4 files" in answer.err
    alone = catalog(argument, "--out", tmp_path / "other.csv")
    assert alone.code == 1
    assert not (tmp_path / "other.csv").exists()


def test_a_folder_that_may_not_be_read_is_an_error_and_not_passed_over_unseen(
    catalog: Catalog, collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path) == str(collection / "b"):  # a test that runs as root may read everything
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    answer = catalog(collection, "--out", tmp_path / "tags.csv")
    assert answer.code == 1
    assert f"streamtag: {collection / 'b'}: permission denied\n" in answer.err
    assert "1 of 1 files" in answer.err


def test_every_folder_is_read_once(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, real = Counter[str](), os.scandir

    def scandir(path: Any) -> Any:
        reads[str(path)] += 1
        return real(path)

    (collection / "b" / "c").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    assert len(Collection.find([str(collection)]).files) == 4
    assert reads[str(collection / "b")] == reads[str(collection / "b" / "c")] == 1


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("tags.json", "ends in .parquet or .csv"),
        ("nowhere/tags.csv", "there is no folder"),
        ("collection", "ends in"),
    ],
)
def test_a_table_that_cannot_be_written_is_refused_before_anything_is_heard(
    catalog: Catalog, collection: Path, tmp_path: Path, out: str, reason: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    answer = catalog(collection, "--out", tmp_path / out)
    assert answer.code == 1
    assert reason in answer.err
    assert len(answer.err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_two_tables_of_one_name_are_refused(catalog: Catalog, collection: Path, tmp_path: Path) -> None:
    answer = catalog(collection, "--out", tmp_path / "t.csv", "--frames", tmp_path / "t.csv")
    assert answer.code == 1
    assert "named for two results" in answer.err


def test_no_table_at_all_is_wrong_usage(catalog: Catalog, collection: Path) -> None:
    assert catalog(collection).code == 2


def test_without_pyarrow_parquet_is_refused_in_one_line_and_csv_is_not(
    catalog: Catalog, collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    answer = catalog(collection, "--out", tmp_path / "tags.parquet")
    assert answer.code == 1
    assert answer.err == (
        f"streamtag: {tmp_path / 'tags.parquet'}: needs pyarrow: pip install pyarrow; or write .csv\n"
    )
    assert catalog(collection, "--out", tmp_path / "tags.csv").code == 0
