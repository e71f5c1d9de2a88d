"""The paper's table: finished tasks are kept, interrupted ones continue, and the time budget holds."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamtag.errors import OutputError, SpecError
from trainer import reproduce
from trainer.data.manifest import Manifest
from trainer.evaluate.figures import Options
from trainer.features.cache import Cache
from trainer.run import DataSource
from trainer.systems import TABLE_2

pytestmark = pytest.mark.usefixtures("no_plots")
SMALL = ["epochs=3", "batch=16", "rate=0.01", "warmup=4", "frames=10"]
NAMES = ("Scat-1L-8H-GRU", "Scat-1L-8H-LSTM")


@pytest.fixture
def config(manifest: Manifest, cache: Cache) -> reproduce.ReproduceConfig:
    options = Options(draws=10, minutes=(), streams=4)
    return reproduce.ReproduceConfig(manifest, cache.root, 1, 0, torch.device("cpu"), "valid", options)


def make_tasks(out: Path, settings: list[str] = SMALL) -> list[reproduce.Task]:
    return reproduce.make_tasks(out, NAMES, (1, 2), "best", settings)


@pytest.mark.slow
def test_every_system_and_seed_has_a_folder_and_a_result(tmp_path: Path, config: reproduce.ReproduceConfig) -> None:
    tasks = make_tasks(tmp_path)
    assert [task.name for task in tasks] == [f"{name}, seed {seed}" for seed in (1, 2) for name in NAMES]
    updates = list(reproduce.run_tasks(tasks, config))
    assert sum(each.epoch is not None for each in updates) == 12
    results = reproduce.write_report(tasks, tmp_path)
    assert [result["name"] for result in results] == [task.name for task in tasks]
    scores = [result["scores"]["mean"]["roc_auc"] for result in results]
    assert len(set(scores)) == 4, "seeds and systems differ"
    assert (tmp_path / NAMES[0] / "seed-2" / "evaluation" / "report.html").exists()
    row = next(line for line in (tmp_path / "report" / "report.md").read_text().splitlines() if NAMES[1] in line[:20])
    assert row
    assert list(reproduce.run_tasks(tasks, config)) == [], "what is done is not done again"


@pytest.mark.slow
def test_after_a_stop_it_ends_like_an_undisturbed_one(tmp_path: Path, config: reproduce.ReproduceConfig) -> None:
    whole, stopped = (make_tasks(tmp_path / name)[:2] for name in ("whole", "stopped"))
    list(reproduce.run_tasks(whole, config))
    for _ in itertools.islice(reproduce.run_tasks(stopped, config), 2):
        pass  # stopped after two of three epochs
    assert stopped[0].epochs >= 1
    assert stopped[0].result() is None
    list(reproduce.run_tasks(stopped, config))
    for one, other in zip(whole, stopped, strict=True):
        results = [{**(task.result() or {}), "cost": None} for task in (one, other)]  # seconds are never the same
        assert results[0] == results[1]


def test_no_epoch_begins_when_the_time_is_up(tmp_path: Path, config: reproduce.ReproduceConfig) -> None:
    hours = itertools.count(0.0, 3600.0)  # every look at the clock costs an hour
    tasks = make_tasks(tmp_path)
    updates = list(reproduce.run_tasks(tasks, config, budget_s=2.5 * 3600, clock=lambda: next(hours)))
    assert [each.epoch is not None for each in updates] == [True, True, False]
    assert updates[-1].task is tasks[0]
    assert [task.result() for task in tasks] == [None] * 4
    assert [task.epochs for task in tasks] == [2, 0, 0, 0]
    assert reproduce.write_report(tasks, tmp_path) == []
    again = list(reproduce.run_tasks(tasks[:1], config))
    assert [each.epoch is not None for each in again] == [True, False]
    assert again[-1].result is not None


def test_a_begun_run_of_other_settings_stops_all_before_hours_are_spent(
    tmp_path: Path, config: reproduce.ReproduceConfig
) -> None:
    next(reproduce.run_tasks(make_tasks(tmp_path)[1:2], config))
    begun = make_tasks(tmp_path, [*SMALL, "rate=0.02"])
    with pytest.raises(OutputError, match=r"Scat-1L-8H-LSTM.*holds a run with other settings .rate = 0.01, not 0.02"):
        list(reproduce.run_tasks(begun, config))
    assert not (tmp_path / NAMES[0]).exists()


def test_other_settings_or_passes_than_the_runs_have_are_refused_with_the_difference(
    tmp_path: Path, config: reproduce.ReproduceConfig
) -> None:
    quick = [*SMALL, "epochs=1"]
    tasks = make_tasks(tmp_path, quick)[:2]
    list(reproduce.run_tasks(tasks[:1], config))  # finished
    with pytest.raises(OutputError, match=r"trained with rate = 0.01, not 0.02"):
        make_tasks(tmp_path, [*quick, "rate=0.02"])[0].result()
    with pytest.raises(OutputError, match=r"GRU.seed-1: was begun with passes = 0, not 1"):
        list(reproduce.run_tasks(tasks, replace(config, passes=1)))
    next(reproduce.run_tasks(tasks[1:], config))  # begun
    with pytest.raises(OutputError, match=r"LSTM.seed-1: was begun with passes = 0, not 1"):
        list(reproduce.run_tasks(tasks[1:], replace(config, passes=1)))


def test_train_can_go_on_with_its_runs(tmp_path: Path, config: reproduce.ReproduceConfig, manifest: Manifest) -> None:
    task = make_tasks(tmp_path)[0]
    next(reproduce.run_tasks([task], config))
    facts = json.loads((task.folder / "data.json").read_text())
    assert DataSource(**facts) == DataSource(str(manifest.root.resolve()), "scattering", seed=1, passes=0)


def test_the_whole_table_is_the_default_of_the_paper(tmp_path: Path) -> None:
    tasks = reproduce.make_tasks(tmp_path, TABLE_2, (1,), "paper", [])
    assert [task.name for task in tasks] == [f"{name}, paper" for name in TABLE_2]
    assert {task.config.epochs for task in tasks} == {300}
    with pytest.raises(SpecError, match="no recipe"):
        reproduce.make_tasks(tmp_path, TABLE_2, (1,), "mine", [])
    with pytest.raises(SpecError, match="not in the table"):
        reproduce.make_tasks(tmp_path, ["Scat-5L"], (1,), "paper", [])
