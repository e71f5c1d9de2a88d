"""One training run: epochs of steps, validation with averaged weights, a checkpoint an epoch, the best
model aside.

RUN/config.json               what was asked for
RUN/log.csv                   one line an epoch
RUN/checkpoint.safetensors    everything needed to go on after a kill: the result is the same to the byte
RUN/best.safetensors          averaged weights and normalisation constants of the best epoch
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from streamtag.core import Normalization
from streamtag.core.filters import FilterBank
from streamtag.errors import SpecError
from trainer import batches, metrics
from trainer.batches import Batch, Library, Sampler
from trainer.checkpoint import fitting, load, save
from trainer.config import TrainConfig
from trainer.features import TRAIN, Cache
from trainer.manifest import Array
from trainer.network import Network
from trainer.targets import clip_targets

VALID = "valid"
COLUMNS = ("epoch", "loss", "roc_auc", "pr_auc", "roc_auc_3s", "rate", "seconds")


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to. loss: of training; the scores: of validation with averaged weights."""

    epoch: int
    loss: float
    roc_auc: float
    pr_auc: float
    roc_auc_3s: float
    rate: float
    seconds: float


@dataclass(frozen=True)
class Data:
    """All a run learns from and is judged by. targets [n, C]: of the validation clips.

    offsets [2, P]: what a decibel of loudness, and of tilt per octave, adds to the features.
    """

    training: Library
    valid: Library
    offsets: Array
    hop_s: float
    targets: Array
    normalization: Normalization


def load_data(cache: Cache, config: TrainConfig, passes: int, tick: Callable[[], None]) -> Data:
    """Read the cache into memory. Raises ManifestError if clips or frames are missing."""
    manifest = cache.manifest
    training, validation = manifest.split(TRAIN), manifest.split(VALID)
    normalization = Normalization(config.normalization, cache.spec)
    _fit(normalization, (cache.read(0, manifest.clips[i].clip_id) for i in training))

    def normalize(values: Array) -> Array:
        result: Array = normalization(torch.from_numpy(values)).numpy()
        return result

    library = batches.load(cache, training, range(passes + 1), config, normalize, tick)
    valid = batches.load(cache, validation, (0,), config, normalize, tick)
    bank = FilterBank.build(cache.spec)
    order = np.array([0] + [1] * len(bank.first) + [2] * len(bank.pairs))
    centres = np.array([psi.xi for psi in bank.first] + [bank.first[n1].xi for n1, _ in bank.pairs])
    octaves = np.concatenate([[0.0], np.log2(centres * cache.spec.sample_rate / 1000.0)])
    offsets = batches.level_offsets(normalization.std.numpy(), order, octaves)
    if config.compression == "none":
        offsets = np.zeros_like(offsets)  # a louder sound is then a factor, which the audio's changes cover
    targets = clip_targets(manifest)[validation]
    return Data(library, valid, offsets, cache.spec.hop_s, targets, normalization)


def _fit(normalization: Normalization, clips: Iterable[Array]) -> None:
    """Mean and standard deviation of every path over all frames of clips [F, P]."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for frames in clips:
        raw = normalization.raw(torch.from_numpy(frames)).double()
        count, total, squares = count + len(raw), total + raw.sum(0), squares + (raw**2).sum(0)
    mean = total / count
    normalization.fit(mean.float(), (squares / count - mean**2).clamp(min=0.0).sqrt().float())


class Run:
    """The owner of a run's state: weights, their average, the optimiser, and how far it has come."""

    def __init__(
        self, folder: Path, config: TrainConfig, data: Data, device: str = "cpu", start: Path | None = None
    ) -> None:
        """`start`: another run's folder, whose best weights this one begins with. Raises ManifestError if they
        belong to another network, SpecError if `folder` holds a run with other settings."""
        self.folder, self.config, self.data = folder, config, data
        self.device = torch.device(device)
        self.sampler = Sampler(data.training, config, data.hop_s, data.offsets)
        self.kind = torch.bfloat16
        torch.manual_seed(config.seed)
        self.network = Network(config.network(data.targets.shape[1])).to(self.device)
        if start is None:
            self._start_head()
        else:
            self._start_from(start)
        self.average = {name: weight.detach().clone() for name, weight in self.network.named_parameters()}
        decaying = [w for w in self.network.parameters() if w.ndim > 1]
        plain = [w for w in self.network.parameters() if w.ndim <= 1]
        groups = [
            {"params": decaying, "weight_decay": config.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.98), foreach=True)
        self.epoch, self.step, self.best, self.best_epoch = 0, 0, -1.0, 0
        folder.mkdir(parents=True, exist_ok=True)
        settings = folder / "config.json"
        if settings.exists():
            found = TrainConfig.from_dict(json.loads(settings.read_text()))
            if found != config:
                raise SpecError(f"{folder}: holds a run with other settings: name another folder")
        settings.write_text(json.dumps(config.to_dict(), indent=1) + "\n")
        if (folder / "checkpoint.safetensors").exists():
            self._resume()

    def _start_head(self) -> None:
        """Every tag starts at its mean over the data, so that no step is lost on learning how rare it is."""
        mean = torch.from_numpy(self.data.targets.mean(axis=0)).clamp(1e-3, 1 - 1e-3)
        self.network.head.bias.data.copy_(torch.logit(mean))
        self.network.head.weight.data.mul_(0.1)

    def _start_from(self, start: Path) -> None:
        tensors, _ = load(start / "best.safetensors")
        own = dict(self.network.named_parameters())
        for name, weight in fitting(tensors, own, "", start).items():
            own[name].data.copy_(weight)

    def epochs(self) -> Iterator[Epoch]:
        """Go on until the end or until validation no longer improves; yields an Epoch after each."""
        while self.epoch < self.config.epochs and self.epoch - self.best_epoch < self.config.patience:
            yield self._one_epoch()

    def _one_epoch(self) -> Epoch:
        start = time.monotonic()
        number = self.epoch + 1
        torch.manual_seed(self.config.seed * 100003 + number)  # of dropout; makes every epoch resumable
        state = self.network.initial_state(0)
        losses = []
        for batch in self.sampler.epoch(self.config.seed * 100003 + number):
            loss, state = self._one_step(batch, state)
            losses.append(loss)
        probabilities = self.predict(self.data.valid)
        whole = metrics.score(probabilities.mean(axis=1), self.data.targets)
        early = round(3.0 / 0.256)
        soon = metrics.score(probabilities[:, :early].mean(axis=1), self.data.targets)
        self.epoch = number
        if whole.roc_auc > self.best:
            self.best, self.best_epoch = whole.roc_auc, number
            self._save_best()
        loss = float(np.mean(losses))
        seconds = time.monotonic() - start
        result = Epoch(number, loss, whole.roc_auc, whole.pr_auc, soon.roc_auc, self._rate(), seconds)
        self._save_checkpoint()
        self._log(result)
        return result

    def _one_step(self, batch: Batch, state: Tensor) -> tuple[float, Tensor]:
        x, y, weight, fresh = (part.to(self.device) for part in (batch.x, batch.y, batch.weight, batch.fresh))
        if len(state) != len(x):
            state = self.network.initial_state(len(x))
        state = state.detach() * ~fresh[:, None, None]
        if self.config.input_dropout:
            keep = torch.rand(len(x), 1, x.shape[2], device=x.device) >= self.config.input_dropout
            x = x * keep / (1 - self.config.input_dropout)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        logits, state = self.network(x, state, self.config.dropout, self.kind)
        loss = loss_of(logits, y, weight, self.config.clip_loss)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.step += 1
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            pairs = list(self.network.named_parameters())
            torch._foreach_lerp_([self.average[n] for n, _ in pairs], [w.detach() for _, w in pairs], 1 - decay)
        return float(loss.detach()), state

    def _rate(self) -> float:
        total = self.config.epochs * self.sampler.steps()
        warm = min(1.0, (self.step + 1) / self.config.warmup)
        return self.config.rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / total)))

    def predict(self, library: Library) -> Array:
        """Probabilities [n, F, C] of whole clips by the averaged weights, from a fresh state."""
        return predict(self.network, self.average, library, self.device)

    def _save_best(self) -> None:
        constants = {"mean": self.data.normalization.mean, "std": self.data.normalization.std}
        meta = {"config": self.config.to_dict(), "epoch": self.epoch, "roc_auc": self.best}
        save({**self.average, **constants}, meta, self.folder / "best.safetensors")

    def _save_checkpoint(self) -> None:
        tensors = {f"average.{n}": w for n, w in self.average.items()}
        for name, weight in self.network.named_parameters():
            tensors[f"weight.{name}"] = weight.detach()
            for moment in ("exp_avg", "exp_avg_sq"):
                tensors[f"{moment}.{name}"] = self.optimizer.state[weight][moment]
        meta = {"epoch": self.epoch, "step": self.step, "best": self.best, "best_epoch": self.best_epoch}
        save(tensors, meta, self.folder / "checkpoint.safetensors")

    def _resume(self) -> None:
        tensors, meta = load(self.folder / "checkpoint.safetensors")
        kept = {
            kind: fitting(tensors, self.average, f"{kind}.", self.folder)
            for kind in ("weight", "average", "exp_avg", "exp_avg_sq")
        }
        for name, weight in self.network.named_parameters():
            weight.data.copy_(kept["weight"][name])
            self.average[name].copy_(kept["average"][name])
            moments = {m: kept[m][name].to(self.device) for m in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[weight] = {"step": torch.tensor(float(meta["step"])), **moments}
        self.epoch, self.step = meta["epoch"], meta["step"]
        self.best, self.best_epoch = meta["best"], meta["best_epoch"]

    def _log(self, result: Epoch) -> None:
        path = self.folder / "log.csv"
        kept = path.read_text().splitlines()[: result.epoch] if path.exists() else [",".join(COLUMNS)]
        with path.open("w", newline="") as file:
            file.write("\n".join(kept) + "\n")
            csv.writer(file, lineterminator="\n").writerow(f"{getattr(result, c):.6g}" for c in COLUMNS)


def loss_of(logits: Tensor, y: Tensor, weight: Tensor, clip_loss: float) -> Tensor:
    """Cross-entropy of the frames [N, F, C], weighted [N, F], plus `clip_loss` times that of the weighted
    means over time."""
    total = weight.sum().clamp(min=1.0)
    by_frame = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(-1)
    loss = (by_frame * weight).sum() / total
    if clip_loss:
        share = (weight / weight.sum(1, keepdim=True).clamp(min=1e-6))[:, :, None]
        mean = (torch.sigmoid(logits) * share).sum(1).clamp(1e-5, 1 - 1e-5)
        loss = loss + clip_loss * torch.nn.functional.binary_cross_entropy(mean, (y * share).sum(1).clamp(0.0, 1.0))
    return loss


@torch.no_grad()
def predict(network: Network, weights: dict[str, Tensor], library: Library, device: torch.device) -> Array:
    """Probabilities [n, F, C] of clips as they are (frames cut to the shortest clip), with these weights."""
    live = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    network.load_state_dict(weights)
    frames = min(len(row[0].x) for row in library.rows)
    results = []
    for start in range(0, len(library.rows), 128):
        part = library.rows[start : start + 128]
        x = torch.from_numpy(np.stack([row[0].x[:frames] for row in part])).float().to(device)
        logits, _ = network(x, network.initial_state(len(x)), 0.0, torch.bfloat16)
        results.append(torch.sigmoid(logits).cpu().numpy())
    network.load_state_dict(live)
    return np.concatenate(results)
