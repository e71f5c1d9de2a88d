"""The named recipes, and that every family of systems learns by them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamtag.errors import SpecError
from streamtag.model.normalization import Normalizer
from trainer.evaluate import metrics
from trainer.features.frontends import fit, frontend, normalizer
from trainer.systems import SYSTEMS, named
from trainer.train.config import TrainConfig
from trainer.train.dataset import FeatureDataset, Row, TrainingData
from trainer.train.loop import Run
from trainer.train.recipes import DECISIONS, RECIPES, recipe


def test_the_paper_as_printed() -> None:
    config = recipe("paper", "Scat-5L-512H-GRU")
    assert (config.rate, config.schedule, config.epochs) == (1e-5, "exponential", 300)
    assert (config.compression, config.frames, config.recurrent_dropout) == ("none", 114, 0.25)
    assert (config.carry, config.cut, config.mixup, config.noise, config.gain_db, config.ema) == (0.0,) * 6
    assert (config.reset_after, config.divide_s1, config.initialization) == (False, False, "tensorflow")
    assert recipe("paper", "Scat-4L-CNN").dropout == 0.5
    assert recipe("paper", "Scat-4L-512H-LSTM").reset_after, "a setting of GRUs only"


@pytest.mark.parametrize(
    ("system", "frames"), [("Scat-5L-512H-GRU", 114), ("Mel-5L-512H-GRU", 1813), ("CQT-5L-512H-LSTM", 1813)]
)
def test_clips_are_trimmed_to_as_many_frames_as_the_paper_has(system: str, frames: int) -> None:
    """Section 5.1: 433 x 114, 1813 x 96 and 1813 x 84."""
    config = recipe("paper", system)
    assert config.frames == config.max_frames == frames
    assert recipe("best", system).max_frames is None


def test_the_table_names_every_setting_in_which_the_recipe_differs_from_ours() -> None:
    ours, theirs = TrainConfig().to_dict(), recipe("paper", "Scat-5L-512H-GRU").to_dict()
    stated = [name for row in DECISIONS for name in row.settings]
    assert len(set(stated)) == len(stated)
    assert {name for name in ours if ours[name] != theirs[name]} <= set(stated) <= set(ours)
    for row in DECISIONS:
        assert row.what
        assert row.chosen
        assert bool(row.reason) == bool(row.left_open or row.chosen != "the same"), row.what


def test_every_system_has_both_recipes() -> None:
    for name in SYSTEMS:
        for kind in RECIPES:
            config = recipe(kind, name)
            assert config.system == name
            if not named(name).reads_frames:
                assert config.carry == config.cut == 0.0
    assert recipe("best", "Scat-5L-512H-GRU") == TrainConfig()
    assert recipe("best", "Scat-2L-32H-BN-LSTM").carry == 0.0


def test_a_bn_lstm_hears_clips_from_their_beginning() -> None:
    with pytest.raises(SpecError, match="carry"):
        TrainConfig(system="Scat-2L-32H-BN-LSTM", carry=0.5)


SMALL = (
    replace(SYSTEMS["CQT-5L-512H-GRU"], name="Small-CQT", layers=2, hidden=32, inputs=10),
    replace(SYSTEMS["Mel-4L-CNN"], name="Small-CNN", channels=(8, 16, 16, 32)),
)


def planted(front: str, clips: int, frames: int, seed: int) -> tuple[FeatureDataset, np.ndarray]:
    """Random features: the first tag is loudness in the upper half of them, the second is chance."""
    rng, size = np.random.default_rng(seed), frontend(front).size
    y = rng.integers(0, 2, (clips, 2)).astype(np.float16)
    x = rng.standard_normal((clips, frames, size)).astype(np.float32)
    x[:, :, size // 2 :] += y[:, None, :1]
    stored = np.exp(0.5 * x) * 0.01 * 4096 if front == "scattering" else x
    rows = tuple((Row(0, clip * frames, frames, y[clip : clip + 1]),) for clip in range(clips))
    return FeatureDataset((stored.reshape(-1, size).astype(np.float16),), frontend(front).scale, rows), y.astype(
        np.float32
    )


def data(front: str, config: TrainConfig, frames: int) -> TrainingData:
    training, _ = planted(front, 48, frames, 1)
    valid, targets = planted(front, 40, frames, 2)
    normalize: Normalizer = normalizer(front, config.normalization)
    fit(normalize, [training.sources[0].astype(np.float32) / training.scale])
    offsets = np.zeros((2, frontend(front).size), dtype=np.float32)
    tags, used = ("loud above", "chance"), frontend(front)
    return TrainingData(training, valid, tags, targets, 1, used.hop_s, used.lookahead_s, normalize, offsets)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("Scat-1L-16H-GRU", 20),
        ("Scat-1L-16H-LSTM", 20),
        ("Scat-1L-16H-BN-LSTM", 20),
        ("Mel-1L-16H-GRU-by-time", 40),
        ("CQT-1L-16H-LSTM-by-time", 40),
        ("Small-CQT", 10),
        ("Small-CNN", 10),
    ],
)
@pytest.mark.parametrize("kind", RECIPES)
def test_every_family_learns_what_is_there_and_no_chance(
    kind: str, name: str, frames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At rates for so small a task, all else as in the recipe."""
    for small in SMALL:
        monkeypatch.setitem(SYSTEMS, small.name, small)
    plain, whole = recipe(kind, name), named(name).family != "recurrent"
    rate, epochs = (5e-3, 20) if whole else (2e-2, 25)
    config = replace(plain, epochs=epochs, batch=16, rate=rate, warmup=4, frames=frames, ema=min(0.9, plain.ema))
    run = Run(tmp_path, config, data(named(name).front, config, frames))
    for _ in run.epochs():
        pass
    found = metrics.score(run.predictions()[0], run.data.targets).roc_auc_by_tag
    assert found[0] > 0.95
    assert 0.2 < found[1] < 0.8
