"""The example that queries a catalogue with DuckDB."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.catalog.conftest import Catalog

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "catalog_duckdb.py"


def test_its_queries_are_answered_from_the_table(catalog: Catalog, collection: Path, tmp_path: Path) -> None:
    (collection / "copy.wav").write_bytes((collection / "a.wav").read_bytes())
    (collection / "broken.mp3").touch()
    table = tmp_path / "tags.parquet"
    catalog(collection, "--out", table)
    # the small model has no techno; the example is written for the tags of the shipped one
    frame = pd.read_parquet(table).rename(columns={"concept_guitar": "concept_techno"})
    frame.to_parquet(table)
    answer = subprocess.run([sys.executable, EXAMPLE, table], capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stderr) == (0, "")
    expected = {Path(row.path).name: row.concept_techno for row in frame.itertuples() if row.frames}
    lines = [line.split() for line in answer.stdout.split("By concept")[0].splitlines()[3:] if line.strip()]
    listed = [float(words[1]) for words in lines]
    assert listed == sorted(listed, reverse=True)
    assert {words[0]: float(words[1]) for words in lines} == pytest.approx(expected, abs=6e-4)
    assert "broken.mp3 is empty" in answer.stdout

    near = runpy.run_path(str(EXAMPLE))["nearest"](frame[frame["error"].isna()].reset_index(drop=True), 0)
    assert Path(near["path"].iloc[0]).name == "copy.wav"
    assert near["similarity"].iloc[0] == pytest.approx(1.0, abs=1e-3)
    assert near["similarity"].iloc[-1] < 1.0


def test_a_file_of_another_kind_is_an_error_in_one_line(tmp_path: Path) -> None:
    song = tmp_path / "song.mp3"
    song.write_bytes(b"no table" * 100)
    answer = subprocess.run([sys.executable, EXAMPLE, song], capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stderr.count("\n")) == (1, 1)
    assert song.name in answer.stderr
