"""The commands `reproduce` and `bench` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.trainer.conftest import Command
from trainer.features.cache import Cache

SYSTEM, OTHER = "Scat-1L-8H-GRU", "Scat-1L-8H-LSTM"
SETTINGS = "epochs=3 batch=16 rate=0.01 warmup=4 frames=10"


@pytest.mark.usefixtures("no_plots")
def test_reproduce_stops_goes_on_and_prints_the_table(tree: Path, cache: Cache, tmp_path: Path, run: Command) -> None:
    settings = [word for pair in SETTINGS.split() for word in ("--set", pair)]
    where = ("--cache", cache.root, "--out", tmp_path, "--systems", f"{SYSTEM},{OTHER}")
    words = ("reproduce", tree, *where, "--recipe", "best", "--threads", 1, "--draws", 10, "--minutes", 1, *settings)
    code, table, err = run(*words, "--budget", 0)
    assert code == 0
    assert "the time is up; the same command goes on from here" in err
    assert table.splitlines() == [f"not begun: {SYSTEM}", f"not begun: {OTHER}"]
    code, table, err = run(*words)
    assert code == 0
    for name in (SYSTEM, OTHER):
        assert f"{name}: epoch 3 of 3: loss " in err
        assert f"{name}: valid ROC-AUC 0." in err
        assert any(line.split()[:1] == [name] for line in table.splitlines()), table
    report = tmp_path / "report" / "report.html"
    assert f"report: {report}" in err
    assert report.exists()
    again = run(*words)
    assert (again[0], again[1]) == (0, table)
    assert "epoch" not in again[2], "what is done is not done again"


def test_reproduce_names_a_system_that_it_does_not_know(tree: Path, tmp_path: Path, run: Command) -> None:
    code, _, err = run("reproduce", tree, "--out", tmp_path, "--systems", "Scat-1L")
    assert code == 2
    assert "Scat-1L" in err


@pytest.mark.slow
def test_bench_measures_features_and_training(run: Command) -> None:
    words = ("bench", "--systems", SYSTEM, "--share", 0.001, "--steps", 1, "--clips", 4, "--loop-clips", 1)
    code, printed, err = run(*words, "--threads", 1, "--json")
    assert code == 0
    results = json.loads(printed)
    assert results["machine"]["threads"] == 1
    assert results["training beside a plain loop"]["system"] == SYSTEM
    assert results["training beside a plain loop"]["times_plain_loop"] > 0
    assert results[f"training: {SYSTEM}"]["clips_per_s"] > 0
    assert [line for line in err.splitlines() if line.startswith("trainer bench: ")] == [
        "trainer bench: features ...",
        "trainer bench: a plain loop ...",
        f"trainer bench: {SYSTEM} ...",
    ]
    assert run("bench", "--systems", "Scat-1L")[0] == 2
