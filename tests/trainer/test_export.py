"""From runs to a model: the best weights of one, or their mean with those of the runs that began with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamtag.errors import ManifestError
from streamtag.spec import ScatteringSpec
from trainer import export
from trainer.checkpoint import load
from trainer.config import TrainConfig
from trainer.features import Cache
from trainer.manifest import Manifest
from trainer.train import Run, load_data


@pytest.fixture(scope="module")
def runs(cache: Cache, small: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `first`, `second` (begun with its weights) and `other` (of another network)."""
    root, data = tmp_path_factory.mktemp("runs"), load_data(cache, small, 0, lambda: None)
    short = replace(small, epochs=2)
    for _ in Run(root / "first", short, data).epochs():
        pass
    for _ in Run(root / "second", replace(short, rate=2 * small.rate), data, start=root / "first").epochs():
        pass
    for _ in Run(root / "other", replace(short, epochs=1, hidden=small.hidden + 1), data).epochs():
        pass
    return root


def test_later_runs_are_averaged_in(runs: Path, manifest: Manifest, small: TrainConfig) -> None:
    tagger = export.build(runs / "first", manifest, ScatteringSpec(), {}, [runs / "second"])
    best, _ = load(runs / "first" / "best.safetensors")
    last, _ = load(runs / "second" / "checkpoint.safetensors")
    expected = (best["head.weight"] + last["average.head.weight"]) / 2
    torch.testing.assert_close(tagger.head.weight, expected)
    assert not torch.allclose(best["head.weight"], expected, atol=1e-6), "the two do differ"
    assert tagger.card["averaged_with"] == [{"rate": 2 * small.rate}]


def test_alone_it_is_the_best_epoch(runs: Path, manifest: Manifest) -> None:
    tagger = export.build(runs / "first", manifest, ScatteringSpec(), {"name": "x"})
    best, _ = load(runs / "first" / "best.safetensors")
    assert torch.equal(tagger.head.weight, best["head.weight"])
    assert torch.equal(tagger.normalization.mean, best["mean"])
    assert "averaged_with" not in tagger.card


def test_what_cannot_be_averaged(runs: Path, manifest: Manifest) -> None:
    with pytest.raises(ManifestError, match="another network"):
        export.build(runs / "first", manifest, ScatteringSpec(), {}, [runs / "other"])
    with pytest.raises(ManifestError, match="no training file"):
        export.build(runs / "first", manifest, ScatteringSpec(), {}, [runs / "nowhere"])
