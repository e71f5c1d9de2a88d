"""The speed of training on random data of MagnaTagATune's size, compared with a plain loop.

A step takes as long on random features as on real ones. `share` of the training set is made up, and every step draws
from it.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainer.bench import roofline
from trainer.bench.measure import peak_bytes, reset_peak, synchronize
from trainer.bench.roofline import Roof
from trainer.data.magnatagatune import TAGGED, TAGS
from trainer.features.frontends import fit, frontend, level_offsets, normalizer
from trainer.systems import named
from trainer.train.config import TrainConfig
from trainer.train.dataset import FeatureDataset, Row, TrainingData
from trainer.train.loop import Run
from trainer.train.recipes import recipe

CLIPS = TAGGED["train"]
CLIP_SAMPLES = 465_600  # 29.1 s
VALID_CLIPS = 8  # validation is not measured
BLOCK_CLIPS = 64  # that are different
COPIED_CLIPS = 1024  # at once
POSITIVE_SHARE = 0.07  # of the targets
Figures = dict[str, Any]


def random_data(config: TrainConfig, share: float, samples: int = CLIP_SAMPLES) -> TrainingData:
    """Return random features of `share` of the training clips, and of a few for validation, in memory.

    They repeat after BLOCK_CLIPS clips: a step takes as long, and all of MagnaTagATune is ready in seconds.
    """
    count, front, rng = max(BLOCK_CLIPS, round(share * CLIPS)), frontend(config.plan.front), np.random.default_rng(0)
    frames = front.frame_count(samples)
    features = 0.01 * (rng.random((BLOCK_CLIPS * frames, front.size), dtype=np.float32) + 0.01)
    normalize = normalizer(front.name, config.normalization)
    fit(normalize, [features])
    block = (features * front.scale).astype(np.float16)
    targets = (rng.random((count, TAGS)) < POSITIVE_SHARE).astype(np.float32)
    rows = tuple((Row(0, n * frames, frames, targets[n : n + 1].astype(np.float16)),) for n in range(count))
    training = FeatureDataset((np.resize(block, (count * frames, front.size)),), front.scale, rows)
    valid = FeatureDataset(training.sources, front.scale, rows[:VALID_CLIPS])
    offsets = level_offsets(front, normalize.std.numpy(), config.normalization)
    tags = tuple(f"tag {number}" for number in range(TAGS))
    times = front.hop_s, front.lookahead_s
    return TrainingData(training, valid, tags, targets[:VALID_CLIPS], 1, *times, normalize, offsets)


def training(
    system: str, name: str, share: float, steps: int, device: str, samples: int = CLIP_SAMPLES, roof: Roof | None = None
) -> Figures:
    """Measure steps of one system by a recipe: clips per second, the share of time for the data, and the roof."""
    plan, place = named(system), torch.device(device)
    config = replace(recipe(name, system), epochs=1)
    data = random_data(config, share, samples)
    with tempfile.TemporaryDirectory() as folder:
        reset_peak(place)
        run = Run(Path(folder) / "run", config, data, device)
        taken, waited = time_steps(run, steps)
        resident, peak = run.batches.is_resident, peak_bytes(place)
    front = frontend(plan.front)
    clips_per_step = config.batch * config.frames / front.frame_count(samples)
    operations = roofline.TRAINING_FACTOR * roofline.operations(plan, front.size, TAGS, config.frames) * config.batch
    weights = plan.parameters(front.size, TAGS)
    size = _bytes(weights, config, front.size)
    roof = roof or roofline.roof(device, run.dtype)
    figures: Figures = {
        "recipe": name, "precision": str(run.dtype), "device": device, "share_of_clips": share, "steps": steps,
        "parameters": weights, "clips_per_s": clips_per_step / taken,
        "seconds_per_epoch": taken * CLIPS / clips_per_step, "data_share": waited / taken,
        "operations_per_step": operations, "bytes_per_step": size, "operations_per_byte": operations / size,
        "tera_operations_per_s": operations / taken / 1e12, "roof_tera_operations_per_s": roof.operations / 1e12,
        "roof_gigabytes_per_s": roof.bytes / 1e9, "ridge_operations_per_byte": roof.ridge,
        "bound_by": "arithmetic" if operations / size > roof.ridge else "memory",
        "share_of_roof": roof.seconds(operations, size) / taken,
    }  # fmt: skip
    if device == "cuda":
        figures |= {"gpu_mib": (peak or 0) / 2**20, "features_resident": resident}
    return figures


def _bytes(weights: int, config: TrainConfig, size: int) -> int:
    """Return the minimum bytes of a step.

    Float32 weights, gradients and Adam's two moments are read and written, weights are read forward and backward, and
    features once.
    """
    return 4 * weights * (2 + 2 * 4) + 2 * config.batch * config.frames * size


def time_steps(run: Run, steps: int) -> tuple[float, float]:
    """Return the seconds of a step, and the part of it spent waiting for the batch. The first step is not counted."""
    seeds = iter(range(1, 1_000_000))

    def batches() -> Iterator[Any]:
        while True:
            yield from run.batches.epoch(next(seeds))

    source, waited = batches(), 0.0
    _, state = run.train_step(next(source), None)
    synchronize()
    began = time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(source)
        waited += time.perf_counter() - asked
        _, state = run.train_step(batch, state)
    synchronize()
    return (time.perf_counter() - began) / steps, waited / steps


def compare_with_plain_loop(system: str, share: float, steps: int, device: str, samples: int = CLIP_SAMPLES) -> Figures:
    """Compare our steps with nn.GRU, a DataLoader and Adam in float32 on the same clips.

    They run in turns, so that other load affects both. The plain loop augments nothing.
    """
    plan, config = named(system), replace(recipe("best", system), epochs=1)
    data = random_data(config, share, samples)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run", config, data, device)
        plain = _plain_loop(data, plan.layers, plan.hidden, config.batch, device)
        ours, theirs = [], []
        for _ in range(3):
            ours.append(time_steps(run, steps)[0])
            theirs.append(plain(steps))
    taken, beside = float(np.median(ours)), float(np.median(theirs))
    per_epoch = CLIPS / config.batch
    return {
        "system": system, "device": device, "precision": str(run.dtype), "share_of_clips": share, "steps": 3 * steps,
        "seconds_per_epoch": taken * per_epoch, "plain_seconds_per_epoch": beside * per_epoch,
        "times_plain_loop": beside / taken, "hours_for_300_epochs": taken * per_epoch * 300 / 3600,
    }  # fmt: skip


class _PlainNetwork(nn.Module):
    """Stacked nn.GRU layers with an output layer, x [N, F, I] -> log-odds [N, F, C]."""

    def __init__(self, inputs: int, hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, hidden, layers, batch_first=True, dropout=0.3 if layers > 1 else 0.0)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.gru(x)[0])
        return logits


def _plain_loop(data: TrainingData, layers: int, hidden: int, batch: int, device: str) -> Callable[[int], float]:
    """Return a function from a number of steps to the mean seconds of a step, without the first."""
    training = data.training
    frames, width = training.rows[0][0].frames, training.sources[0].shape[1]
    stored = torch.from_numpy(training.sources[0]).view(-1, frames, width)
    normalize = copy.deepcopy(data.normalize).cpu()  # a run on a GPU has moved it there
    with torch.no_grad():
        features = torch.cat([normalize(part.float() / training.scale) for part in torch.split(stored, COPIED_CLIPS)])
    targets = torch.from_numpy(np.concatenate([clips[0].y for clips in training.rows]).astype(np.float32))
    loader = DataLoader(TensorDataset(features, targets), batch, shuffle=True, drop_last=True)
    network = _PlainNetwork(features.shape[2], hidden, layers, targets.shape[1]).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)

    def forever() -> Iterator[Any]:
        while True:
            yield from loader

    source = forever()

    def run(steps: int) -> float:
        began = 0.0
        for number in range(steps + 1):
            features, positive = (part.to(device) for part in next(source))
            logits = network(features)
            frame_targets = positive[:, None].expand_as(logits)
            loss = nn.functional.binary_cross_entropy_with_logits(logits, frame_targets)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            loss.item()
            if number == 0:
                synchronize()
                began = time.perf_counter()
        synchronize()
        return (time.perf_counter() - began) / steps

    return run
