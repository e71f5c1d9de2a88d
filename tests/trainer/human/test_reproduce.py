"""The paper's table with scores against human tags, and with what each system costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamtag.errors import ManifestError
from trainer import reproduce
from trainer.data.manifest import Manifest
from trainer.evaluate.figures import Options
from trainer.features.cache import Cache
from trainer.human.tracks import read_tracks
from trainer.report import sections

pytestmark = pytest.mark.usefixtures("no_plots")
SETTINGS = ["epochs=2", "batch=16", "rate=0.01", "warmup=4", "frames=10"]
NAME = "Scat-1L-8H-GRU"


@pytest.fixture
def config(manifest: Manifest, cache: Cache) -> reproduce.ReproduceConfig:
    options = Options(draws=10, minutes=(), streams=4)
    return reproduce.ReproduceConfig(manifest, cache.root, 1, 0, torch.device("cpu"), "valid", options)


def test_figures_that_a_finished_system_lacks_are_added(
    tmp_path: Path, config: reproduce.ReproduceConfig, track_folder: Path
) -> None:
    tasks = reproduce.make_tasks(tmp_path, [NAME], (1,), "best", SETTINGS)
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
    assert row[0] == NAME
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
        next(
            reproduce.run_tasks(reproduce.make_tasks(tmp_path, [NAME], (1,), "best", []), replace(config, tracks=mixed))
        )
    assert not (tmp_path / NAME).exists()
