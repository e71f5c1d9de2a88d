"""Columns and files of the tables."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from streamtag.catalog.result import FileResult
from streamtag.catalog.table_formats import check_format, open_table, tag_columns
from streamtag.catalog.tables import FILE_COLUMNS, blocks_of, file_block, strongest_tags
from streamtag.errors import OutputError, SpecError

TAGS = ("rock", "path", "slow")


def _result(*means: float) -> FileResult:
    return FileResult("/a", 1, 1_700_000_000_123_456_789, "m", 2.5, 9, np.array(means, np.float32))


def test_a_tag_with_the_name_of_another_column_gets_a_number() -> None:
    assert tag_columns(TAGS, FILE_COLUMNS) == ["rock", "path (2)", "slow"]


def test_the_strongest_tags_come_first_and_equal_ones_in_order() -> None:
    assert strongest_tags(_result(0.2, 0.9, 0.2), TAGS, 2) == ["path", "rock"]
    assert strongest_tags(_result(0.2, 0.9, 0.2), TAGS, 9) == ["path", "rock", "slow"]
    assert strongest_tags(FileResult("/a", 1, 1, "m"), TAGS, 2) == []


def test_a_mean_survives_journal_and_table_bit_for_bit(tmp_path: Path) -> None:
    means = np.random.default_rng(3).random((50, 3), dtype=np.float32)
    rows = [(str(n), FileResult.from_json(_result(*row).to_json())) for n, row in enumerate(means)]
    with open_table(tmp_path / "t.parquet", FILE_COLUMNS, TAGS) as table:
        for part in blocks_of(rows, 7):
            table.write(file_block(part, TAGS, 1))
    back = pq.read_table(tmp_path / "t.parquet")
    found = np.stack([back[name].to_numpy() for name in tag_columns(TAGS, FILE_COLUMNS)], axis=1)
    np.testing.assert_array_equal(found, means)
    assert back["path"].to_pylist() == [name for name, _ in rows]
    assert {moment.microsecond for moment in back["modified"].to_pylist()} == {123456}


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_after_an_exception_the_old_file_is_unchanged(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("before")
    with suppress(ZeroDivisionError), open_table(path, FILE_COLUMNS, TAGS) as table:
        table.write(file_block([("a", _result(1, 0, 0))], TAGS, 1))
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
        open_table(path, FILE_COLUMNS, TAGS) as table,
    ):
        table.write(file_block([("a", _result(1, 0, 0))], TAGS, 1))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
