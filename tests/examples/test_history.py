"""The examples that query a history give the same answer, and the right one."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import pytest

from streamtag.cli import main
from streamtag.history.reader import HistoryReader
from tests.examples.conftest import run
from tests.history.sample import write_sample


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("history") / "h.sqlite"
    write_sample(path, 2, ("club", "radio"), seed=3)
    return path


def test_duckdb_and_pandas_agree(history: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "t.parquet"
    assert main(["history", str(history), "--since", "2026-01-01", "--until", "2027-01-01", "--out", str(table)]) == 0
    capfd.readouterr()
    zone = "--zone=Asia/Kolkata"  # 5:30 h ahead of UTC
    answers = [run("history_duckdb.py", table, zone), run("history_pandas.py", history, zone)]
    assert [(answer.returncode, answer.stderr) for answer in answers] == [(0, "")] * 2
    duckdb, pandas = ([line.split() for line in answer.stdout.splitlines()] for answer in answers)
    assert duckdb == pandas
    assert [row[0] for row in duckdb] == ["hour", *map(str, range(24))]

    seconds: dict[int, float] = defaultdict(float)
    with HistoryReader(history) as reader:
        for presence in reader.presences(0, 1e10, concepts=[duckdb[0][1]]):
            at = presence.on_at
            while at < presence.off_at:
                local = at + 5.5 * 3600
                end = min(presence.off_at, at + 3600 - local % 3600)
                seconds[math.floor(local / 3600) % 24] += end - at
                at = end
    assert [int(row[1]) for row in duckdb[1:]] == pytest.approx([seconds[hour] / 60 for hour in range(24)], abs=0.6)


@pytest.mark.parametrize("example", ["history_duckdb.py", "history_pandas.py"])
def test_a_mistake_is_reported_in_one_line(example: str, history: Path, tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"no table" * 100)
    for arguments in ((tmp_path / "song.mp3",), (history, "--zone=Mars/Olympus")):
        done = run(example, *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
