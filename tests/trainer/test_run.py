"""What a run's folder refuses. What it computes is compared with its model file in test_export."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamtag.errors import ManifestError, SpecError
from tests.trainer.conftest import TAGS
from trainer.features.frontends import normalizer
from trainer.run import BEST, CHECKPOINT, TrainedSystem, load_run
from trainer.train.checkpoint import load, save
from trainer.train.config import TrainConfig


def test_whole_clip_systems_refuse_to_stream(small: TrainConfig) -> None:
    config = replace(small, system="Scat-4L-CNN", carry=0.0, cut=0.0)
    normalize = normalizer(config.plan.front, config.normalization)
    trained, features = TrainedSystem(config, TAGS, normalize, config.plan.build(374, 3), {}), torch.rand(3, 12, 374)
    assert trained.predict_frames(features).shape == (3, 1, 3)
    for ask in (lambda: trained.initial_state(1), lambda: trained.step(features, torch.zeros(3, 0))):
        with pytest.raises(SpecError, match="Scat-4L-CNN: hears a clip as a whole"):
            ask()


def test_folders_without_a_run_are_refused(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no training file"):
        load_run(tmp_path)
    tensors, meta = load(finished_run / BEST)
    for changed, message in (
        ({**meta, "tags": ["one"]}, "another network"),
        ({"config": meta["config"]}, "no finished run"),
        ({**meta, "config": {**meta["config"], "colour": 1}}, "colour"),
    ):
        save(tensors, changed, tmp_path / BEST)
        with pytest.raises(ManifestError, match=message):
            load_run(tmp_path)
    shutil.copy(finished_run / BEST, tmp_path)
    tensors, meta = load(finished_run / CHECKPOINT)
    del tensors["average.head.weight"]
    save(tensors, meta, tmp_path / CHECKPOINT)
    with pytest.raises(ManifestError, match="another network"):
        load_run(finished_run, [tmp_path])
