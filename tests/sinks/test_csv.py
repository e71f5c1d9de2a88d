"""Frames as a table."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.errors import OutputError
from streamtag.protocol.messages import Concept, Frame
from streamtag.protocol.selection import Selection
from streamtag.sinks.csv import CsvFile


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_row_per_frame_and_one_column_per_tag(
    tmp_path: Path, frames: list[Frame], selection: Selection, probs: NDArray[np.float64]
) -> None:
    path = tmp_path / "tags.csv"
    with CsvFile(path, selection) as table:
        for name in ('a, "b".mp3', "c.mp3"):
            for frame in frames:
                table.write(replace(frame, stream=name))
    rows = _rows(path)
    assert list(rows[0]) == ["stream", "time", "start", "end", *selection.tags]
    assert [row["stream"] for row in rows] == ['a, "b".mp3'] * 40 + ["c.mp3"] * 40
    assert (rows[0]["time"], rows[0]["start"], rows[0]["end"]) == ("0.000", "0.000", "0.256")  # not before the stream
    assert (rows[1]["time"], rows[1]["start"], rows[1]["end"]) == ("0.256", "0.000", "0.512")
    values = np.array([[float(row[tag]) for tag in selection.tags] for row in rows[:40]])
    np.testing.assert_allclose(values, probs, atol=5.1e-5)


@pytest.mark.parametrize(
    ("choice", "columns"),
    [({"names": ["harp", "slow"], "top": 1}, ["slow", "harp"]), ({"concept_names": ["calm"]}, ["slow", "piano"])],
)
def test_the_columns_are_the_tags_that_are_selected_without_top(
    tmp_path: Path, frames: list[Frame], selection: Selection, choice: dict[str, Any], columns: list[str]
) -> None:
    groups = (Concept("calm", "mood", ("slow", "piano"), 0.5), Concept("drums", "instrument", ("drums",), 0.5))
    path = tmp_path / "tags.csv"
    with CsvFile(path, Selection.of(selection.tags, (0.5,) * 6, groups, **choice)) as table:
        table.write(replace(frames[30], concepts={"calm": 0.5, "drums": 0.1}))
    assert list(_rows(path)[0])[4:] == columns


@pytest.mark.parametrize(("error", "kept"), [(BrokenPipeError, True), (KeyboardInterrupt, False)])
def test_rows_are_kept_after_a_broken_pipe_only(
    tmp_path: Path, selection: Selection, error: type[BaseException], kept: bool
) -> None:
    path = tmp_path / "tags.csv"
    with pytest.raises(error), CsvFile(path, selection):
        raise error
    assert [entry.name for entry in tmp_path.iterdir()] == (["tags.csv"] if kept else [])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_output_error(frames: list[Frame], selection: Selection) -> None:
    with pytest.raises(OutputError, match="no space left"), CsvFile(Path("/dev/full"), selection) as table:
        table.write(replace(frames[0], stream="x" * 1_000_000))
