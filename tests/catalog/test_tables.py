"""Columns and files of the tables."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from streamtag.catalog.result import FileResult
from streamtag.catalog.table_formats import check_format, open_table
from streamtag.catalog.tables import (
    FILE_COLUMNS,
    TableRequest,
    blocks_of,
    file_block,
    label_columns,
    strongest_tags,
    verdict_of,
)
from streamtag.errors import OutputError, SpecError
from streamtag.spec import ConceptSpec

TAGS = ("rock", "path", "slow")
CONCEPTS = (ConceptSpec("no vocals", "voice", ("path",)), ConceptSpec("rock", "genre", ("rock",)))
REQUEST = TableRequest(TAGS, CONCEPTS, lambda probs: probs[:, 1::-1], 0.256, (), None, 1, 20)
LABELS = REQUEST.file_labels


def _result(*means: float) -> FileResult:
    means_, concepts, present_s = (np.array(each, np.float32) for each in (means, means[1::-1], [0, 2.5]))
    return FileResult("/a", "/a", 1, 1_700_000_000_123_456_789, "m", 2.5, 9, means_, concepts, present_s)


def test_a_tag_with_the_name_of_another_column_gets_a_number() -> None:
    assert LABELS == ["rock", "path (2)", "slow", "concept_no_vocals", "concept_rock"]
    assert label_columns(["a", "concept_a"], [ConceptSpec("a", "mood", ("a",))], []) == [
        "a",
        "concept_a",
        "concept_a (2)",
    ]


def test_a_concept_that_was_on_for_long_enough_is_in_the_verdict() -> None:
    long = replace(_result(0.2, 0.9, 0.2), present_s=np.array([0.5, 2.5], np.float32))
    assert verdict_of(long, CONCEPTS) == {"genre": ("rock",)}
    both = replace(long, present_s=np.array([1.5, 2.5], np.float32))
    assert verdict_of(both, CONCEPTS) == {"genre": ("rock",), "voice": ("no vocals",)}
    block = file_block([long, both], REQUEST)
    assert block.values["present"] == [["rock"], ["rock", "no vocals"]]
    assert block.values["verdict"] == ["rock", "rock; no vocals"]
    none = file_block([FileResult("/a", "/a", 1, 1, "m")], REQUEST)
    assert (none.values["present"], none.values["verdict"]) == ([[]], [None])


def test_the_strongest_tags_come_first_and_equal_ones_in_order() -> None:
    assert strongest_tags(_result(0.2, 0.9, 0.2), TAGS, 2) == ["path", "rock"]
    assert strongest_tags(_result(0.2, 0.9, 0.2), TAGS, 9) == ["path", "rock", "slow"]
    assert strongest_tags(FileResult("/a", "/a", 1, 1, "m"), TAGS, 2) == []


def test_a_mean_survives_journal_and_table_bit_for_bit(tmp_path: Path) -> None:
    means = np.random.default_rng(3).random((50, 3), dtype=np.float32)
    rows = [replace(FileResult.from_json(_result(*row).to_json()), path=f"/{n}") for n, row in enumerate(means)]
    with open_table(tmp_path / "t.parquet", FILE_COLUMNS, LABELS) as table:
        for part in blocks_of(rows, 7):
            table.write(file_block(part, REQUEST))
    back = pq.read_table(tmp_path / "t.parquet")
    found = np.stack([back[name].to_numpy() for name in LABELS], axis=1)
    np.testing.assert_array_equal(found, np.concatenate((means, means[:, 1::-1]), axis=1))
    assert back["path"].to_pylist() == [result.path for result in rows]
    assert {moment.microsecond for moment in back["modified"].to_pylist()} == {123456}


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_after_an_exception_the_old_file_is_unchanged(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("before")
    with suppress(ZeroDivisionError), open_table(path, FILE_COLUMNS, LABELS) as table:
        table.write(file_block([_result(1, 0, 0)], REQUEST))
        raise ZeroDivisionError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["t", "t.txt", "parquet", ".parquet"])
def test_other_formats_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match=r"ends in \.parquet or \.csv"):
        check_format(Path(name))


def test_a_full_disk_is_an_error_and_the_old_file_is_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "t.parquet"
    path.write_text("before")
    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with (
        pytest.raises(OutputError, match=r"t\.parquet: cannot write: no space left on device"),
        open_table(path, FILE_COLUMNS, LABELS) as table,
    ):
        table.write(file_block([_result(1, 0, 0)], REQUEST))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
