"""Parts d and e: the speed of training at MagnaTagATune's size, and a real training run that returns a model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from streamtag.model import TaggerNetwork, load_tagger, save_tagger
from tests.benchmarks.gpu_parts.report import DONE, PROBLEM, Report
from tests.benchmarks.gpu_parts.settings import SYSTEM, Settings, peak_memory_gib
from trainer.bench.roofline import roof
from trainer.bench.training import compare_with_plain_loop, training
from trainer.data.manifest import Clip, Manifest
from trainer.features.cache import Cache
from trainer.features.frame_store import Entry
from trainer.run import load_run
from trainer.train.config import TrainConfig
from trainer.train.dataset import TrainingData, load_data
from trainer.train.device import open_device
from trainer.train.loop import Run
from trainer.train.packed import PackedFeatures, pack
from trainer.train.recipes import recipe

SMALL_SYSTEM = "Scat-1L-16H-GRU"
SPARED_SHARE = 0.15  # of the seconds, for the end of the run and epochs that take longer than the first
PAPER_EPOCHS = 300


def measure_speed(report: Report, settings: Settings) -> None:
    """Part d: ours against nn.GRU with a DataLoader and Adam in float32, as PyTorch sets them by default."""
    device, system = open_device("auto").type, settings.size(SYSTEM, SMALL_SYSTEM)
    share, steps, samples = settings.size((1.0, 80, 465_600), (0.001, 1, 20 * 4096))
    torch.backends.cudnn.allow_tf32 = True  # PyTorch's default, for the plain loop
    figures = compare_with_plain_loop(system, share, steps, device, samples)
    figures["minutes_for_300_epochs"] = figures["seconds_per_epoch"] * PAPER_EPOCHS / 60
    report.write("ours and a plain loop", **figures)
    peaks = {str(kind).removeprefix("torch."): kind for kind in (torch.bfloat16, torch.float32)}
    side, copied = settings.size((8192, 2**28), (256, 2**16))
    for name, kind in peaks.items():
        found = roof(device, kind, side, copied)
        report.write(f"peak, {name}", tera_operations_per_s=found.operations / 1e12, gb_per_s=found.bytes / 1e9)
        if kind == torch.bfloat16:
            ours = training(system, "best", share, steps, device, samples, found)
    names = ("clips_per_s", "seconds_per_epoch", "data_share", "tera_operations_per_s", "bound_by", "share_of_roof")
    peak_share = ours["tera_operations_per_s"] / ours["roof_tera_operations_per_s"]
    report.write("ours", **{name: ours[name] for name in names}, share_of_peak=peak_share, peak_gib=peak_memory_gib())
    report.write(DONE)


def train(report: Report, settings: Settings) -> None:
    """Part e: the recipe of the shipped model for `settings.seconds`, with as many epochs as fit."""
    start, device = time.monotonic(), open_device("auto")
    config = recipe("best", settings.size(SYSTEM, SMALL_SYSTEM))
    with _features(settings) as features, tempfile.TemporaryDirectory() as folder:
        data = load_data(features, config, 0, lambda: None)
        clips = {"training_clips": len(data.training.rows), "validation_clips": len(data.valid.rows)}
        report.write("features", file=str(settings.pack or "random: no file given"), **clips)
        (first,) = Run(Path(folder) / "first", replace(config, epochs=1), data, device).epochs()
        (second,) = Run(Path(folder) / "second", replace(config, epochs=1), data, device).epochs()
        until = start + settings.seconds
        left_s = (until - time.monotonic()) * (1 - SPARED_SHARE)
        epochs = max(1, int(left_s / max(1e-3, second.seconds)))
        report.write("an epoch", first_s=first.seconds, seconds=second.seconds, epochs=epochs)
        config = replace(config, epochs=epochs, patience=epochs)
        _train(report, Run(Path(folder) / "run", config, data, device), until)
        model = settings.out / "model.safetensors"
        save_tagger(_as_tagger(Path(folder) / "run", data, config), model)
    tags = len(load_tagger(model).tags)
    report.write("model", file=str(model), bytes=model.stat().st_size, tags=tags, peak_gib=peak_memory_gib())
    report.write(DONE)


def _train(report: Report, run: Run, until: float) -> None:
    for epoch in run.epochs():
        if epoch.epoch == 1 or epoch.epoch % 10 == 0 or run.has_finished:
            report.write(f"epoch {epoch.epoch}", loss=epoch.loss, roc_auc=epoch.roc_auc, pr_auc=epoch.pr_auc)
        if not np.isfinite(epoch.loss):
            report.write(f"epoch {epoch.epoch}", **{PROBLEM: "the loss is not finite"})
            break
        if time.monotonic() > until:
            break
    report.write("best epoch", epoch=run.best_epoch, roc_auc=run.best, of=run.config.epochs)


def _as_tagger(folder: Path, data: TrainingData, config: TrainConfig) -> TaggerNetwork:
    """Return the best epoch as a model, with thresholds of 0.5 and no calibration: it has not heard sound files."""
    card = {"name": f"{config.system}, trained by the GPU benchmark", "training": config.to_dict()}
    thresholds = (0.5,) * len(data.tags)
    return TaggerNetwork(*load_run(folder).model_parts(), data.tags, thresholds, card)


@contextmanager
def _features(settings: Settings) -> Iterator[PackedFeatures]:
    if settings.pack is not None:
        yield PackedFeatures(settings.pack)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "random"
        pack(_random_cache(Path(folder), settings.size(900, 24), settings.size(114, 20)), file)
        yield PackedFeatures(file)


def _random_cache(folder: Path, clips: int, frames: int) -> Cache:
    """Return features that tell nothing, of clips with 50 tags."""
    rng = np.random.default_rng(0)
    listed = tuple(Clip(str(n), "valid" if n % 6 == 0 else "train", "random", folder / str(n)) for n in range(clips))
    targets = (rng.random((1, clips, 50)) < 0.3).astype(np.float32)
    tags = tuple(f"tag {n}" for n in range(50))
    facts = np.zeros(targets.shape[1:], np.int8)
    cache = Cache(folder, Manifest(folder, tags, listed, targets, None, facts, "random"), "scattering", seed=1)
    with cache.store(0).appending(0) as store:
        for clip in listed:
            values = np.exp(rng.normal(-6, 1.5, (frames, cache.front.size))) * cache.front.scale
            store.add(Entry(clip.clip_id, frames), values.clip(0, 6e4).astype(np.float16))
    cache.refresh()
    return cache
