"""Training as it is served: what carried states are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from streamtag.model import Standardization
from trainer.data.manifest import Array
from trainer.run import load_run
from trainer.train.config import TrainConfig
from trainer.train.dataset import FeatureDataset, Row, TrainingData
from trainer.train.loop import Run

FRAMES, WIDTH, SONGS = 20, 96, 12


def songs(count: int, seed: int) -> tuple[Array, Array]:
    """Noise [count, FRAMES, WIDTH] with a faint trait, that only shows over several frames, and who has it."""
    rng = np.random.default_rng(seed)
    positive = rng.integers(0, 2, (count, 1)).astype(np.float32)
    x = rng.standard_normal((count, FRAMES, WIDTH), dtype=np.float32)
    x[:, :, :4] += 0.35 * (2 * positive[:, None] - 1)
    return x, positive


def library(count: int, seed: int) -> FeatureDataset:
    x, positive = songs(count, seed)
    rows = tuple((Row(0, n * FRAMES, FRAMES, positive[n : n + 1].astype(np.float16)),) for n in range(count))
    return FeatureDataset((x.reshape(-1, WIDTH).astype(np.float16),), 1.0, rows)


def auc_after_a_change(carry: float, folder: Path) -> float:
    """ROC-AUC at the sixth frame of songs that follow others in one endless stream."""
    config = TrainConfig(
        system="Mel-1L-24H-GRU-by-time", epochs=25, batch=32, rate=0.01, warmup=4, frames=FRAMES, ema=0.9,
        dropout=0.0, input_dropout=0.0, ramp_s=0.08, precision="float32", mixup=0.0, gain_db=0.0, tilt_db=0.0,
        noise=0.1, time_masks=0, path_masks=0, clip_loss=0.0, carry=carry, cut=0.0,
    )  # fmt: skip
    offsets = np.zeros((2, WIDTH), dtype=np.float32)
    valid, targets = library(64, 2), songs(64, 2)[1]
    data = TrainingData(library(1024, 1), valid, ("trait",), targets, 1, 0.016, 0.0, Standardization(WIDTH), offsets)
    for _ in Run(folder, config, data).epochs():
        pass
    x, positive = songs(64 * SONGS, 3)
    streams = torch.from_numpy(x.reshape(64, SONGS * FRAMES, WIDTH))
    predicted = load_run(folder).predict_frames(streams).numpy().reshape(64, SONGS, FRAMES)
    return float(roc_auc_score(positive.reshape(64, SONGS)[:, 2:].ravel(), predicted[:, 2:, 5].ravel()))


@pytest.mark.slow
def test_carried_states_teach_forgetting_the_last_song(tmp_path: Path) -> None:
    carried, always_fresh = auc_after_a_change(0.9, tmp_path / "carried"), auc_after_a_change(0.0, tmp_path / "fresh")
    assert carried > 0.92
    assert always_fresh < carried - 0.08, "whoever only knows beginnings still hears the last song"
