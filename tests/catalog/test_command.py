"""`streamtag catalog`: what stands in its tables, for every kind of file and of collection."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from streamtag.api import Tagger
from streamtag.cli import main

Catalog = Callable[..., Any]
COLUMNS = ["path", "seconds", "frames", "size", "modified", "model", "warnings", "error", "top"]


def _means(table: pd.DataFrame, tagger: Tagger) -> NDArray[np.float32]:
    means: NDArray[np.float32] = table[list(tagger.tags)].to_numpy(np.float32)
    return means


def _by_name(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    return table.set_index(table["path"].map(lambda path: Path(path).name))


# --- what stands in them ------------------------------------------------------------------------------------------


def test_the_means_are_those_of_the_library(catalog: Catalog, collection: Path, tagger: Tagger, tmp_path: Path) -> None:
    answer = catalog(collection, "--out", tmp_path / "tags.parquet")
    assert (answer.code, answer.out) == (0, "")
    table = pd.read_parquet(tmp_path / "tags.parquet")
    files = [collection / name for name in ("a.wav", "b/mono.mp3", "b/short.wav", "b/stereo.mp3")]
    assert table["path"].tolist() == list(map(str, files))
    assert list(table.columns) == [*COLUMNS, *tagger.tags]
    results = [tagger.tag(path) for path in files]
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


def test_the_means_are_those_that_the_command_for_files_prints(
    catalog: Catalog, collection: Path, tagger: Tagger, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    catalog(collection, "--out", tmp_path / "tags.parquet")
    assert main(["file", str(collection / "b" / "mono.mp3"), "--json", "--model", str(model), "--device", "cpu"]) == 0
    end = json.loads(capfd.readouterr().out.splitlines()[-1])
    row = _by_name(tmp_path / "tags.parquet").loc["mono.mp3"]
    assert row["frames"] == end["frames"]
    for tag in tagger.tags:
        assert row[tag] == pytest.approx(end["summary"][tag], abs=1e-4)


def test_the_strongest_tags_are_named(catalog: Catalog, collection: Path, tagger: Tagger, tmp_path: Path) -> None:
    catalog(collection, "--out", tmp_path / "tags.parquet", "--top", "3")
    for _, row in pd.read_parquet(tmp_path / "tags.parquet").iterrows():
        means = row[list(tagger.tags)].astype(float)
        assert list(row["top"]) == means.sort_values(ascending=False, kind="stable").index[:3].tolist()


def test_every_column_of_a_tag_is_a_flat_single_float(
    catalog: Catalog, collection: Path, tagger: Tagger, tmp_path: Path
) -> None:
    catalog(collection, "--out", tmp_path / "tags.parquet", "--frames", tmp_path / "frames.parquet")
    for name in ("tags", "frames"):
        schema = pq.read_schema(tmp_path / f"{name}.parquet")
        assert {str(schema.field(tag).type) for tag in tagger.tags} == {"float"}
    question = f"""select "male vocal" from '{tmp_path / "tags.parquet"}' where seconds > 8"""
    found = duckdb.execute(question).fetchall()
    assert len(found) == 1


def test_csv_holds_the_same(catalog: Catalog, collection: Path, tagger: Tagger, tmp_path: Path) -> None:
    (collection / "broken.mp3").write_text("no sound")
    catalog(collection, "--out", tmp_path / "tags.parquet", "--out", tmp_path / "tags.csv")
    one, other = pd.read_parquet(tmp_path / "tags.parquet"), pd.read_csv(tmp_path / "tags.csv")
    assert list(one.columns) == list(other.columns)
    np.testing.assert_allclose(_means(one, tagger), _means(other, tagger), atol=1e-6)
    for name in ("path", "seconds", "frames", "size", "error"):
        assert one[name].astype(object).where(one[name].notna(), None).tolist() == (
            other[name].astype(object).where(other[name].notna(), None).tolist()
        )
    assert [", ".join(top) for top in one["top"]] == other["top"].fillna("").str.replace(";", ",").tolist()
    assert pd.to_datetime(other["modified"], format="ISO8601").tolist() == one["modified"].tolist()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_every_frame_has_a_row_if_wanted(
    catalog: Catalog, collection: Path, tagger: Tagger, tmp_path: Path, suffix: str
) -> None:
    frames = tmp_path / f"frames{suffix}"
    catalog(collection, "--out", tmp_path / "tags.csv", "--frames", frames)
    table = pd.read_parquet(frames) if suffix == ".parquet" else pd.read_csv(frames)
    assert list(table.columns) == ["path", "time", *tagger.tags]
    for path, rows in table.groupby("path"):
        result = tagger.tag(path)
        np.testing.assert_allclose(rows["time"], result.times, atol=1e-3)
        np.testing.assert_allclose(_means(rows, tagger), result.probs, atol=1e-5)
    assert table["path"].nunique() == 4


# --- files that cannot be heard -----------------------------------------------------------------------------------


def test_what_fails_is_a_row_with_a_reason_and_the_others_are_done(
    catalog: Catalog, collection: Path, tmp_path: Path
) -> None:
    (collection / "empty.mp3").touch()
    (collection / "text.wav").write_text("no sound at all\n" * 100)
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
    assert table["guitar"].notna().sum() == len(table) - 2 == 4
    assert "Traceback" not in answer.err


def test_damage_that_was_passed_over_is_told(catalog: Catalog, collection: Path, tmp_path: Path) -> None:
    whole = (collection / "b" / "stereo.mp3").read_bytes()
    (collection / "hole.mp3").write_bytes(whole[:9000] + bytes(range(256)) * 20 + whole[14120:])
    assert catalog(collection, "--out", tmp_path / "tags.parquet").code == 0
    warnings = _by_name(tmp_path / "tags.parquet")["warnings"]
    assert "skipped" in warnings["hole.mp3"]
    assert warnings.drop("hole.mp3").isna().all()


# --- files with several names, and odd ones -----------------------------------------------------------------------


def test_a_path_that_is_named_twice_has_one_row(
    catalog: Catalog, collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(collection.parent)
    there = collection.name
    arguments = [f"{there}/b/../a.wav", there, f"./{there}", collection, f"{there}/a.wav"]
    assert catalog(*arguments, "--out", tmp_path / "tags.parquet").code == 0
    paths = pd.read_parquet(tmp_path / "tags.parquet")["path"].tolist()
    assert paths == [f"{there}/b/../a.wav", *(f"{there}/b/{name}" for name in ("mono.mp3", "short.wav", "stereo.mp3"))]


def test_a_file_with_several_names_is_heard_once_and_has_a_row_for_each(
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
    heard = sum(table.loc[["a.wav", "mono.mp3", "short.wav", "stereo.mp3"], "seconds"])
    assert f"; {heard / 60:.1f} min of sound" in answer.err


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of any bytes")
def test_names_in_no_encoding_and_in_all_scripts_come_through(
    catalog: Catalog, collection: Path, tmp_path: Path
) -> None:
    odd = [b"caf\xe9.wav", b"two\nlines.wav", "音楽.wav".encode(), b'comma, "quote".wav']
    for name in odd:
        (collection / os.fsdecode(name)).write_bytes((collection / "b" / "short.wav").read_bytes())
    (collection / os.fsdecode(b"bad\xff.mp3")).touch()
    tables = "--out", tmp_path / "tags.parquet", "--out", tmp_path / "tags.csv"
    for _ in range(2):  # heard, and from the journal
        answer = catalog(collection, *tables)
        assert answer.code == 1
        assert "bad?.mp3: is empty" in answer.err
        for table in (pd.read_parquet(tmp_path / "tags.parquet"), pd.read_csv(tmp_path / "tags.csv")):
            names = {path.removeprefix(f"{collection}/") for path in table["path"]}
            assert names >= {r"caf\xe9.wav", "two\nlines.wav", "音楽.wav", 'comma, "quote".wav', r"bad\xff.mp3"}
            assert table["error"].notna().sum() == 1
    assert "8 of 9 files are known from before" in answer.err


# --- where the tables go ------------------------------------------------------------------------------------------


def test_the_table_may_lie_inside_the_collection(catalog: Catalog, collection: Path) -> None:
    for _ in range(2):
        answer = catalog(collection, "--out", collection / "b" / "tags.parquet", "--frames", collection / "f.csv")
        assert answer.code == 0
        assert "4 of 4 files" in answer.err
