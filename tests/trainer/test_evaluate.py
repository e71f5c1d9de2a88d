"""The report of a model: figures over all clips, by kind and by tag."""

from __future__ import annotations

import json

import numpy as np
import pytest

from trainer import evaluate
from trainer.manifest import Manifest
from trainer.targets import clip_targets


def test_perfect_and_useless_predictions(manifest: Manifest) -> None:
    targets = clip_targets(manifest)[manifest.split("valid")]
    chance = np.random.default_rng(3).random(targets.shape).astype(np.float32)
    result = evaluate.report(manifest, "valid", whole=targets, early=chance)
    everything = result["parts"]["all"]
    assert everything["clips"] == 32
    assert everything["roc_auc"] == 1.0
    assert everything["difference"] == 0.0
    assert everything["roc_auc_3s"] < 0.9
    worst = evaluate.report(manifest, "valid", whole=1 - targets, early=targets)["parts"]["all"]
    assert worst["roc_auc"] == 0.0
    assert worst["correlation"] == pytest.approx(-1.0)


def test_kinds_are_parts_of_the_whole(manifest: Manifest) -> None:
    targets = clip_targets(manifest)[manifest.split("valid")]
    odd = np.array([manifest.clips[i].kind == "odd" for i in manifest.split("valid")])
    predicted = np.where(odd[:, None], targets, 1 - targets)
    parts = evaluate.report(manifest, "valid", predicted, predicted)["parts"]
    assert parts["odd"]["clips"] + parts["even"]["clips"] == parts["all"]["clips"]
    assert parts["odd"]["roc_auc"] == 1.0
    assert parts["even"]["roc_auc"] == 0.0
    assert 0.0 < parts["all"]["roc_auc"] < 1.0


def test_what_cannot_be_scored_is_null_in_json(manifest: Manifest) -> None:
    targets = clip_targets(manifest)[manifest.split("valid")]
    same = np.zeros_like(targets)
    result = json.loads(json.dumps(evaluate.report(manifest, "valid", same, same), allow_nan=False))
    assert result["tags"]["coin"]["correlation"] is None
    assert result["tags"]["high tone"]["positives"] == 16
