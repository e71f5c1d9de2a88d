"""`streamtag catalog`: the content of its tables, for every kind of file and collection, and what it refuses."""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from streamtag.api import Tagger
from streamtag.catalog.files import Collection
from tests.catalog.conftest import Catalog

COLUMNS = ["path", "seconds", "frames", "size", "modified", "model", "warnings", "error", "top", "present", "verdict"]


def _means(table: pd.DataFrame, tagger: Tagger) -> NDArray[np.float32]:
    means: NDArray[np.float32] = table[list(tagger.tags)].to_numpy(np.float32)
    return means


def _by_name(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    return table.set_index(table["path"].map(lambda path: Path(path).name))


# --- content ------------------------------------------------------------------------------------------------------


def test_the_means_equal_those_of_the_library(
    catalog: Catalog, collection: Path, tagger: Tagger, tmp_path: Path
) -> None:
    answer = catalog(collection, "--out", tmp_path / "tags.parquet", "--top", "3")
    assert (answer.code, answer.out) == (0, "")
    table = pd.read_parquet(tmp_path / "tags.parquet")
    files = [collection / name for name in ("a.wav", "b/mono.mp3", "b/short.wav", "b/stereo.mp3")]
    assert table["path"].tolist() == list(map(str, files))
    concepts = [f"concept_{concept.name.replace(' ', '_')}" for concept in tagger.concepts]
    assert list(table.columns) == [*COLUMNS, *tagger.tags, *concepts]
    results = [tagger.tag(path) for path in files]
    concept_means = np.array([list(result.concept_summary.values()) for result in results])
    np.testing.assert_allclose(table[concepts].to_numpy(np.float32), concept_means, atol=1e-5)
    expected = np.array([list(result.summary.values()) for result in results])
    np.testing.assert_allclose(_means(table, tagger), expected, atol=1e-5)
    assert np.abs(_means(table, tagger)[[1, 2, 3, 0]] - expected).max(axis=1).min() > 1e-3  # another file's differ
    assert table["frames"].tolist() == [len(result.times) for result in results]
    np.testing.assert_allclose(table["seconds"], [result.seconds for result in results], atol=1e-3)
    assert table["size"].tolist() == [path.stat().st_size for path in files]
    np.testing.assert_allclose(
        table["modified"].map(lambda t: t.timestamp()), [path.stat().st_mtime for path in files], atol=1e-5
    )
    assert table["error"].isna().all()
    assert [len(top) for top in table["top"]] == [3] * 4
    assert [top[0] for top in table["top"]] == [tagger.tags[index] for index in expected.argmax(axis=1)]


def test_every_frame_has_a_row_in_the_second_table(
    catalog: Catalog, collection: Path, tagger: Tagger, tmp_path: Path
) -> None:
    tags, frames = collection / "b" / "tags.parquet", tmp_path / "frames.parquet"  # one within the collection
    for _ in range(2):
        assert "4 of 4 files" in catalog(collection, "--out", tags, "--frames", frames).err
    table = pd.read_parquet(frames)
    concepts = [f"concept_{concept.name.replace(' ', '_')}" for concept in tagger.concepts]
    assert list(table.columns) == ["path", "time", *tagger.tags, *concepts]
    for path, rows in table.groupby("path"):
        result = tagger.tag(path)
        np.testing.assert_allclose(rows["time"], result.times, atol=1e-3)
        np.testing.assert_allclose(_means(rows, tagger), result.probs, atol=1e-5)
        np.testing.assert_allclose(rows[concepts].to_numpy(np.float32), result.concept_probs, atol=1e-5)
    assert table["path"].nunique() == 4
    for path in (tags, frames):
        schema = pq.read_schema(path)
        assert {str(schema.field(tag).type) for tag in tagger.tags} == {"float"}
    assert len(duckdb.execute(f"""select "male vocal" from '{tags}' where seconds > 8""").fetchall()) == 1


def test_csv_holds_the_same(catalog: Catalog, collection: Path, tagger: Tagger, tmp_path: Path) -> None:
    (collection / "broken.mp3").write_text("no sound")
    catalog(collection, "--out", tmp_path / "tags.parquet", "--out", tmp_path / "tags.csv")
    one, other = pd.read_parquet(tmp_path / "tags.parquet"), pd.read_csv(tmp_path / "tags.csv")
    assert list(one.columns) == list(other.columns)
    np.testing.assert_allclose(_means(one, tagger), _means(other, tagger), atol=1e-6)
    for name in ("path", "seconds", "frames", "size", "error", "verdict"):
        assert one[name].astype(object).where(one[name].notna(), None).tolist() == (
            other[name].astype(object).where(other[name].notna(), None).tolist()
        )
    for name in ("top", "present"):
        assert [", ".join(names) for names in one[name]] == other[name].fillna("").str.replace(";", ",").tolist()
    assert pd.to_datetime(other["modified"], format="ISO8601").tolist() == one["modified"].tolist()


# --- files that fail ----------------------------------------------------------------------------------------------


def test_a_file_that_fails_is_a_row_with_a_reason(catalog: Catalog, collection: Path, tmp_path: Path) -> None:
    (collection / "empty.mp3").touch()
    (collection / "text.wav").write_text("no sound at all\n" * 100)
    whole = (collection / "b" / "stereo.mp3").read_bytes()
    (collection / "hole.mp3").write_bytes(whole[:9000] + bytes(range(256)) * 20 + whole[14120:])
    answer = catalog(collection, "--out", tmp_path / "tags.parquet")
    assert answer.code == 1
    table = _by_name(tmp_path / "tags.parquet")
    errors = table["error"].dropna()
    assert errors.to_dict() == {
        "empty.mp3": "is empty",
        "text.wav": "not an audio file: FFmpeg finds no sound it knows",
    }
    assert f"streamtag: {collection / 'empty.mp3'}: is empty\n" in answer.err
    assert table.loc[errors.index, "guitar"].isna().all()
    assert table.loc[errors.index, "frames"].tolist() == [0, 0]
    assert table["guitar"].notna().sum() == len(table) - 2 == 5
    assert "skipped" in table["warnings"]["hole.mp3"]
    assert table["warnings"].drop("hole.mp3").isna().all()
    assert "Traceback" not in answer.err


def test_only_the_first_failures_are_printed(catalog: Catalog, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.mp3").touch()
    answer = catalog(tmp_path, "--out", tmp_path / "tags.csv")
    assert answer.code == 1
    assert answer.err.count("is empty") == 20
    assert "10 more failed: see the column `error`" in answer.err
    with (tmp_path / "tags.csv").open() as file:
        assert [row["error"] for row in csv.DictReader(file)] == ["is empty"] * 30


# --- files with several names, and odd ones -----------------------------------------------------------------------


def test_a_path_that_is_named_twice_has_one_row(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(collection.parent)
    folder = collection.name
    arguments = [f"{folder}/b/../a.wav", folder, f"./{folder}", str(collection), f"{folder}/a.wav"]
    paths = [file.path for file in Collection.find(arguments).files]
    assert paths == [
        f"{folder}/b/../a.wav",
        *(f"{folder}/b/{name}" for name in ("mono.mp3", "short.wav", "stereo.mp3")),
    ]


def test_a_file_with_several_names_is_tagged_once_and_has_a_row_for_each(
    catalog: Catalog, collection: Path, tagger: Tagger, tmp_path: Path
) -> None:
    (collection / "hard.wav").hardlink_to(collection / "a.wav")
    (collection / "soft.wav").symlink_to("a.wav")
    (collection / "b" / "loop").symlink_to(collection, target_is_directory=True)
    (collection / "c.wav").symlink_to("c.wav")
    frames = tmp_path / "frames.parquet"
    answer = catalog(collection, "--out", tmp_path / "tags.parquet", "--frames", frames)
    assert answer.code == 0
    table = _by_name(tmp_path / "tags.parquet")
    assert sorted(table.index) == ["a.wav", "hard.wav", "mono.mp3", "short.wav", "soft.wav", "stereo.mp3"]
    assert (_means(table, tagger)[[0, 0]] == _means(table.loc[["hard.wav", "soft.wav"]], tagger)).all()
    assert pd.read_parquet(frames)["path"].nunique() == 6
    seconds = sum(table.loc[["a.wav", "mono.mp3", "short.wav", "stereo.mp3"], "seconds"])
    assert f"; {seconds / 60:.1f} min of sound" in answer.err


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of any bytes")
def test_names_in_no_encoding_and_in_all_scripts_survive(catalog: Catalog, collection: Path, tmp_path: Path) -> None:
    for name in [b"caf\xe9.wav", b"two\nlines.wav", "音楽.wav".encode(), b'comma, "quote".wav']:
        (collection / os.fsdecode(name)).write_bytes((collection / "b" / "short.wav").read_bytes())
    (collection / os.fsdecode(b"bad\xff.mp3")).touch()
    tables = "--out", tmp_path / "tags.parquet", "--out", tmp_path / "tags.csv"
    for _ in range(2):  # tagged, and from the journal
        answer = catalog(collection, *tables)
        assert answer.code == 1
        assert "bad?.mp3: is empty" in answer.err
        for table in (pd.read_parquet(tmp_path / "tags.parquet"), pd.read_csv(tmp_path / "tags.csv")):
            names = {path.removeprefix(f"{collection}/") for path in table["path"]}
            assert names >= {r"caf\xe9.wav", "two\nlines.wav", "音楽.wav", 'comma, "quote".wav', r"bad\xff.mp3"}
            assert table["error"].notna().sum() == 1
    assert "8 of 9 files are known from before" in answer.err


# --- arguments and tables that are refused ------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_a_file_that_may_have_no_end_is_refused_and_the_rest_is_found(collection: Path) -> None:
    os.mkfifo(collection / "pipe.wav")
    (collection / "zero.wav").symlink_to("/dev/zero")
    named = Collection.find([str(collection / "pipe.wav"), "/dev/zero", str(collection / "a.wav")])
    assert [str(error).partition(": ")[2] for error in named.errors] == ["not a plain file: it may have no end"] * 2
    assert len(named.files) == 1
    searched = Collection.find([str(collection)])
    assert (len(searched.files), searched.errors) == (4, ())


@pytest.mark.parametrize("argument", ["https://example.org/a.mp3", "-", "missing.mp3"])
def test_an_argument_that_is_no_file_is_an_error_and_the_rest_is_done(
    catalog: Catalog, collection: Path, tmp_path: Path, argument: str
) -> None:
    alone = catalog(argument, "--out", tmp_path / "other.csv")
    assert alone.code == 1
    assert not (tmp_path / "other.csv").exists()
    found = Collection.find([argument, str(collection)])
    assert (len(found.files), len(found.errors)) == (4, 1)


def test_every_folder_is_read_once_and_one_that_cannot_be_read_is_an_error(
    catalog: Catalog, collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, real = Counter[str](), os.scandir
    (collection / "c").mkdir()

    def scandir(path: Any) -> Any:
        reads[str(path)] += 1
        if str(path) == str(collection / "b"):  # a test that runs as root may read everything
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    answer = catalog(collection, "--out", tmp_path / "tags.csv")
    assert answer.code == 1
    assert f"streamtag: {collection / 'b'}: permission denied\n" in answer.err
    assert "1 of 1 files" in answer.err
    assert reads[str(collection / "b")] == reads[str(collection / "c")] == 1


@pytest.mark.parametrize(
    ("outs", "code", "reason"),
    [
        (["--out", "tags.json"], 2, "ends in .parquet or .csv"),
        (["--out", "nowhere/tags.csv"], 1, "there is no folder"),
        (["--out", "t.csv", "--frames", "t.csv"], 2, "named for two results"),
    ],
)
def test_a_table_that_cannot_be_written_is_refused_before_any_work(
    catalog: Catalog,
    collection: Path,
    tmp_path: Path,
    outs: list[str],
    code: int,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    answer = catalog(collection, *outs)
    assert answer.code == code
    assert reason in answer.err
    assert len(answer.err.splitlines()) == code  # wrong usage has a hint
    assert sorted(tmp_path.rglob("*")) == before


def test_without_pyarrow_only_csv_is_written(
    catalog: Catalog, collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    answer = catalog(collection, "--out", tmp_path / "tags.parquet")
    assert answer.code == 1
    assert answer.err == (
        f"streamtag: {tmp_path / 'tags.parquet'}: needs pyarrow: pip install pyarrow; or write .csv\n"
    )
    assert catalog(collection / "b" / "short.wav", "--out", tmp_path / "tags.csv").code == 0
