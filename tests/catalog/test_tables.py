"""Columns of the tables."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from streamtag.catalog.result import FileResult
from streamtag.catalog.table_formats import ParquetTable, check_format, tag_columns
from streamtag.catalog.tables import FILE_COLUMNS, blocks_of, file_block, strongest_tags
from streamtag.errors import OutputError

TAGS = ("rock", "path", "slow")


def _entry(*means: float) -> FileResult:
    return FileResult("/a", 1, 1_700_000_000_123_456_789, "m", 2.5, 9, np.array(means, np.float32))


def test_a_tag_that_is_called_like_another_column_gets_a_number() -> None:
    assert tag_columns(TAGS, FILE_COLUMNS) == ["rock", "path (2)", "slow"]


def test_the_strongest_come_first_and_of_equal_ones_the_first() -> None:
    assert strongest_tags(_entry(0.2, 0.9, 0.2), TAGS, 2) == ["path", "rock"]
    assert strongest_tags(_entry(0.2, 0.9, 0.2), TAGS, 9) == ["path", "rock", "slow"]
    assert strongest_tags(FileResult("/a", 1, 1, "m"), TAGS, 2) == []


def test_a_mean_comes_back_from_the_table_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = [(str(n), FileResult.from_json(_entry(*rng.random(3, dtype=np.float32)).to_json())) for n in range(50)]
    with ParquetTable(tmp_path / "t.parquet", FILE_COLUMNS, TAGS) as table:
        for part in blocks_of(rows, 7):
            table.write(file_block(part, TAGS, 1))
    back = pq.read_table(tmp_path / "t.parquet")
    rng = np.random.default_rng(3)
    expected = np.stack([rng.random(3, dtype=np.float32) for _ in range(50)])
    found = np.stack([back[name].to_numpy() for name in tag_columns(TAGS, FILE_COLUMNS)], axis=1)
    np.testing.assert_array_equal(found, expected)
    assert back["path"].to_pylist() == [name for name, _ in rows]
    assert {moment.microsecond for moment in back["modified"].to_pylist()} == {123456}


def test_a_table_that_is_broken_off_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_text("before")
    with suppress(ZeroDivisionError), ParquetTable(path, FILE_COLUMNS, TAGS) as table:
        table.write(file_block([("a", _entry(1, 0, 0))], TAGS, 1))
        raise ZeroDivisionError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["t", "t.txt", "parquet", ".parquet"])
def test_other_formats_are_refused(name: str) -> None:
    with pytest.raises(OutputError, match=r"ends in \.parquet or \.csv"):
        check_format(Path(name))


def test_a_full_disk_is_an_error_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "t.parquet"
    path.write_text("before")
    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with (
        pytest.raises(OutputError, match=r"t\.parquet: cannot write: no space left on device"),
        ParquetTable(path, FILE_COLUMNS, TAGS) as table,
    ):
        table.write(file_block([("a", _entry(1, 0, 0))], TAGS, 1))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
