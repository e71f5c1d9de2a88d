"""One training run: epochs of steps, validation with averaged weights, a checkpoint an epoch, the best model aside.

RUN/config.json               what was asked for
RUN/checkpoint.safetensors    everything needed to go on after a kill: the result is the same to the byte
RUN/best.safetensors          see trainer.run; RUN/log.csv and events: see trainer.train.log
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from streamtag.errors import OutputError, SpecError
from streamtag.model import where
from trainer.run import BEST, WEIGHT, TrainedSystem, save_run
from trainer.systems import Dropout
from trainer.train.batches import Batch, Batches
from trainer.train.checkpoint import fitting, load, save
from trainer.train.config import TrainConfig
from trainer.train.data import Data
from trainer.train.dataset import Frames
from trainer.train.distributed import Group
from trainer.train.log import Epoch, TrainingLog
from trainer.train.validation import predict, scores, with_weights

CHECKPOINT, SETTINGS = "checkpoint.safetensors", "config.json"
MOMENTS = ("exp_avg", "exp_avg_sq")
PRECISIONS = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class Run:
    """The owner of a run's state: weights, their average, the optimiser, and how far it has come."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        data: Data,
        device: torch.device | str = "cpu",
        start: Path | None = None,
        group: Group | None = None,
    ) -> None:
        """`start`: another run's folder, whose best weights this one begins with. Raises ManifestError if they
        belong to another network, SpecError if `folder` holds a run with other settings."""
        self.folder, self.config, self.data = folder, config, data
        self.device, self.group = torch.device(device), group or Group()
        self.kind = PRECISIONS[config.precision]
        torch.manual_seed(config.seed)
        dropout = Dropout(config.dropout, config.recurrent_dropout)
        self.network = config.plan.build(data.offsets.shape[1], len(data.tags), dropout).to(self.device)
        self.normalize = data.normalize.to(self.device)
        self.batches = Batches(data, config, self.normalize, self.device, self.group)
        self.valid = Frames(data.valid, self.device)
        if start is None:
            self._start_head()
        else:
            own = self.network.state_dict()
            self.network.load_state_dict(fitting(load(start / BEST)[0], own, WEIGHT, start))
        self.average = {name: weight.detach().clone() for name, weight in self.network.state_dict().items()}
        self.optimizer = self._optimizer()
        self.epoch, self.step, self.best, self.best_epoch = 0, 0, -1.0, 0
        self._open_folder()
        self.group.wait()  # until the settings are written
        if (folder / CHECKPOINT).exists():
            self._resume()
        self.model: nn.Module = self.network
        if self.group.size > 1:
            self.model = DistributedDataParallel(self.network)

    def _start_head(self) -> None:
        """Every tag starts at its mean over the data, so that no step is lost on learning how rare it is."""
        head = self.network.head
        assert isinstance(head, nn.Linear)
        mean = torch.from_numpy(self.data.training.mean_targets()).clamp(1e-3, 1 - 1e-3)
        head.bias.data.copy_(torch.logit(mean))
        head.weight.data.mul_(0.1)

    def _optimizer(self) -> torch.optim.AdamW:
        config = self.config
        trained = [weight for weight in self.network.parameters() if weight.requires_grad]
        groups = [
            {"params": [w for w in trained if w.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [w for w in trained if w.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, config.beta_2), foreach=True)

    def epochs(self, tick: Callable[[], None] = lambda: None) -> Iterator[Epoch]:
        """Go on until the end or until validation no longer improves; yields an Epoch after each. `tick` is called
        after each step."""
        journal = TrainingLog(self.folder, self.epoch) if self.group.first else None
        try:
            while self.epoch < self.config.epochs and self.epoch - self.best_epoch < self.config.patience:
                epoch = self._one_epoch(tick)
                if journal:
                    journal.write(epoch)
                yield epoch
        finally:
            if journal:
                journal.close()

    def _one_epoch(self, tick: Callable[[], None]) -> Epoch:
        start, number = time.monotonic(), self.epoch + 1
        seed = self.config.seed * 100003 + number  # from here on nothing depends on what was before the epoch
        torch.manual_seed(seed + 7919 * self.group.rank)  # of dropout
        self.network.train()
        losses = torch.zeros((), device=self.device)
        state: Any = None
        for batch in self.batches.epoch(seed):
            loss, state = self.one_step(batch, state)
            losses += loss
            tick()
        loss_sum = float(self.group.sum(losses / self.batches.steps() / self.group.size))
        self.epoch = number
        scored = self._validate()
        if scored[0] > self.best:
            self.best, self.best_epoch = scored[0], number
            self._save_best()
        result = Epoch(number, loss_sum, *scored, self._rate(), time.monotonic() - start)
        self._save_checkpoint()
        return result

    def one_step(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
        """Learn from one batch; `state` is what the step before left, None before the first. -> loss, state."""
        silence = self.network.initial_state(len(batch.x))  # type: ignore[operator]
        with torch.no_grad():  # gradients end here
            state = silence if state is None else where(batch.fresh, silence, state)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        with torch.autocast(self.device.type, self.kind, enabled=self.kind != torch.float32):
            logits, state = self.model(batch.x, state)
        total = self.group.sum(batch.weight.sum()) / self.group.size
        loss = loss_of(logits, batch.y, batch.weight, self.config.clip_loss, total)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.step += 1
        self._follow(min(self.config.ema, (1 + self.step) / (10 + self.step)))
        return loss.detach(), state

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        """Move the averaged weights, and running statistics among them; whole numbers are counts and just copied."""
        pairs = [(self.average[name], weight) for name, weight in self.network.state_dict().items()]
        moving = [(kept, new) for kept, new in pairs if new.is_floating_point()]
        torch._foreach_lerp_([kept for kept, _ in moving], [new for _, new in moving], 1 - decay)
        for kept, new in pairs:
            if not new.is_floating_point():
                kept.copy_(new)

    def _rate(self) -> float:
        config = self.config
        warm = min(1.0, (self.step + 1) / config.warmup)
        passed = min(1.0, self.step / (config.epochs * self.batches.steps()))
        if config.schedule == "exponential":
            return config.rate * warm * math.pow(config.last_rate, passed)
        return config.rate * warm * 0.5 * (1 + math.cos(math.pi * passed))

    def predictions(self) -> tuple[Any, Any]:
        """Mean probabilities [n, C] of the validation clips, whole and of their first 3 s, by the averaged weights."""
        with with_weights(self.network, self.average):
            count = len(self.data.valid.rows)
            return predict(self.network, self.normalize, self.valid, count, self.data.hop_s, self.kind)

    def _validate(self) -> tuple[float, float, float]:
        """ROC-AUC, PR-AUC, and ROC-AUC after 3 s, which all processes then agree on."""
        values = torch.zeros(3, dtype=torch.float64, device=self.device)
        if self.group.first:
            whole, soon = scores(self.predictions(), self.data.targets)
            values = values.new_tensor([whole.roc_auc, whole.pr_auc, soon.roc_auc])
        roc_auc, pr_auc, roc_auc_soon = self.group.agree(values).tolist()
        return roc_auc, pr_auc, roc_auc_soon

    def _save_best(self) -> None:
        if self.group.first:
            best = {"epoch": self.epoch, "roc_auc": self.best}
            plan, tags = self.config.plan, self.data.tags
            trained = TrainedSystem(plan, self.config, tags, self.normalize, self.network, best)
            save_run(self.folder, self.average, trained)

    def _save_checkpoint(self) -> None:
        if not self.group.first:
            return
        tensors = {f"average.{name}": weight for name, weight in self.average.items()}
        tensors |= {f"weight.{name}": weight for name, weight in self.network.state_dict().items()}
        for name, weight in self.network.named_parameters():
            for moment in MOMENTS if weight.requires_grad else ():
                tensors[f"{moment}.{name}"] = self.optimizer.state[weight][moment]
        meta = {"epoch": self.epoch, "step": self.step, "best": self.best, "best_epoch": self.best_epoch}
        save(tensors, meta, self.folder / CHECKPOINT)

    def _resume(self) -> None:
        tensors, meta = load(self.folder / CHECKPOINT)
        weights = fitting(tensors, self.average, "weight.", self.folder)
        average = fitting(tensors, self.average, "average.", self.folder)
        trained = {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}
        moments = {m: fitting(tensors, trained, f"{m}.", self.folder) for m in MOMENTS}
        self.network.load_state_dict(weights)
        for name, kept in self.average.items():
            kept.copy_(average[name])
        for name, weight in trained.items():
            own = {m: moments[m][name].to(self.device) for m in MOMENTS}
            self.optimizer.state[weight] = {"step": torch.tensor(float(meta["step"])), **own}
        self.epoch, self.step = meta["epoch"], meta["step"]
        self.best, self.best_epoch = meta["best"], meta["best_epoch"]

    def _open_folder(self) -> None:
        settings = self.folder / SETTINGS
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if settings.exists():
                found = json.loads(settings.read_text())
                for name, wanted in self.config.to_dict().items():
                    if found.get(name) != wanted:
                        difference = f"{name} = {found.get(name)}, not {wanted}"
                        raise SpecError(f"{self.folder}: holds a run with other settings ({difference}): name another")
            elif self.group.first:
                settings.write_text(json.dumps(self.config.to_dict(), indent=1) + "\n")
        except (OSError, ValueError) as error:
            if isinstance(error, SpecError):
                raise
            raise OutputError(f"{self.folder}: cannot hold a run: {error}") from error


def loss_of(logits: Tensor, y: Tensor, weight: Tensor, clip_loss: float, total: Tensor) -> Tensor:
    """Cross-entropy of the frames [N, F, C], weighted [N, F] over `total`, plus `clip_loss` times that of the weighted
    means over time. Logits [N, 1, C] speak of the whole: of the weighted mean of y alone."""
    share = (weight / weight.sum(1, keepdim=True).clamp(min=1e-6))[:, :, None]
    mean_y = (y * share).sum(1).clamp(0.0, 1.0)
    if logits.shape[1] < y.shape[1]:
        return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], mean_y)
    by_frame = nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(-1)
    loss = (by_frame * weight).sum() / total.clamp(min=1.0)
    if clip_loss:
        mean = (torch.sigmoid(logits) * share).sum(1).clamp(1e-5, 1 - 1e-5)
        loss = loss + clip_loss * nn.functional.binary_cross_entropy(mean, mean_y)
    return loss
