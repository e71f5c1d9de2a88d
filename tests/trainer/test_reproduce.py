"""The paper's table: finished tasks are kept, interrupted ones continue, and the time budget holds."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamtag.errors import ManifestError, OutputError, SpecError
from trainer import reproduce
from trainer.data.manifest import Manifest
from trainer.evaluate.figures import Options
from trainer.features.cache import Cache
from trainer.human.tracks import read_tracks
from trainer.report import sections
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


def test_runs_of_other_settings_or_passes_stop_all_before_hours_are_spent_with_the_difference(
    tmp_path: Path, config: reproduce.ReproduceConfig
) -> None:
    quick = [*SMALL, "epochs=1"]
    (first, second), others = make_tasks(tmp_path, quick)[:2], make_tasks(tmp_path, [*quick, "rate=0.02"])
    next(reproduce.run_tasks([second], config))  # begun
    with pytest.raises(OutputError, match=r"Scat-1L-8H-LSTM.*holds a run with other settings .rate = 0.01, not 0.02"):
        list(reproduce.run_tasks(others, config))
    assert not (tmp_path / NAMES[0]).exists()
    list(reproduce.run_tasks([first], config))  # finished
    with pytest.raises(OutputError, match=r"trained with rate = 0.01, not 0.02"):
        others[0].result()
    for task, name in ((first, "GRU"), (second, "LSTM")):
        with pytest.raises(OutputError, match=rf"{name}.seed-1: was begun with passes = 0, not 1"):
            list(reproduce.run_tasks([task], replace(config, passes=1)))


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


def test_figures_that_a_finished_system_lacks_are_added(
    tmp_path: Path, config: reproduce.ReproduceConfig, track_folder: Path
) -> None:
    tasks = make_tasks(tmp_path)[:1]
    list(reproduce.run_tasks(tasks, config))
    before = tasks[0].result()
    assert before is not None
    assert before["cost"]["stream_s"] > 0
    assert "human" not in before
    scored = replace(config, tracks=read_tracks(track_folder).tagged())
    updates = list(reproduce.run_tasks(tasks, scored))
    assert [each.epoch for each in updates] == [None], "nothing is trained again"
    after = tasks[0].result()
    assert after is not None
    assert after["human"]["tracks"] == 24
    assert {name: after[name] for name in before} == before
    (row,) = sections.reproduction_rows(reproduce.write_report(tasks, tmp_path))
    own = dict(zip(sections.REPRODUCTION_HEADER, row, strict=True))
    assert row[0] == NAMES[0]
    assert own["human"] == f"{after['human']['roc_auc']:.3f}"
    assert own["3 s"] == f"{after['human']['heard']['roc_auc'][1]:.3f}"
    assert sections.DASH not in row[3:7]
    assert "24 tracks by 12 artists" in (tmp_path / "report" / "report.md").read_text()


def test_tracks_of_artists_that_are_learned_are_refused(
    tmp_path: Path, config: reproduce.ReproduceConfig, track_folder: Path
) -> None:
    tracks = read_tracks(track_folder).tagged()
    learned = next(clip.artist for clip in config.data.clips if clip.split == "train")
    mixed = replace(tracks, tracks=(replace(tracks.tracks[0], artist=learned), *tracks.tracks[1:]))
    with pytest.raises(ManifestError, match=r"1 artists of .+ are in its training split"):
        next(reproduce.run_tasks(make_tasks(tmp_path)[:1], replace(config, tracks=mixed)))
    assert not (tmp_path / NAMES[0]).exists()
