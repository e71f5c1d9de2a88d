"""One training run: epochs of steps, validation with averaged weights, a checkpoint per epoch, one model kept.

RUN/config.json               the settings
RUN/checkpoint.safetensors    everything needed to continue after a kill: the result is identical to the byte
RUN/best.safetensors          see `trainer.run`; for RUN/log.csv and events see `train.log`
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from streamtag.model import where
from streamtag.model.device_errors import report_device_errors
from trainer.evaluate import metrics
from trainer.files import write_json
from trainer.run import CHECKPOINT, SETTINGS, TrainedSystem, check_settings, save_run
from trainer.systems import Dropout
from trainer.train.batches import Batch, Batches
from trainer.train.checkpoint import load, matching, save
from trainer.train.config import TrainConfig
from trainer.train.dataset import TrainingData
from trainer.train.device import allow_rounded_products, product_dtype
from trainer.train.distributed import Group
from trainer.train.frame_loader import FrameLoader
from trainer.train.human_labels import human_loss
from trainer.train.initialization import initialize
from trainer.train.log import Epoch, TrainingLog
from trainer.train.validation import predict, with_weights

MOMENTS = ("exp_avg", "exp_avg_sq")


class Run:
    """Owns the state of a run: the weights, their average, the optimizer and the progress."""

    @report_device_errors()
    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        data: TrainingData,
        device: torch.device | str = "cpu",
        start: TrainedSystem | None = None,
        group: Group | None = None,
    ) -> None:
        """Open the run in `folder`, or begin it, with the weights of `start` (see `load_start`) if given.

        `data` was then loaded with `start`, too. Raises SpecError if `folder` has a run with other settings, and
        DeviceError, as the epochs do, if a GPU fails or has not enough memory.
        """
        self.folder, self.config, self.data = folder, config, data
        self.device, self.group = torch.device(device), group or Group()
        self.dtype = product_dtype(config.precision, self.device)
        allow_rounded_products(self.dtype, self.device)
        torch.manual_seed(config.seed)
        dropout = Dropout(config.dropout, config.recurrent_dropout)
        self.network = config.plan.build(data.offsets.shape[1], len(data.tags), dropout)
        if start is None:
            initialize(self.network, config.initialization, data.training.mean_targets())
        else:
            self.network.load_state_dict(start.network.state_dict())
        self.network.to(self.device)
        self.normalize = data.normalize.to(self.device)
        self.members = torch.from_numpy(data.members).to(self.device)
        self.batches = Batches(data, config, self.normalize, self.device, self.group)
        self._valid = FrameLoader(data.valid, self.device)
        self.average = {name: weight.detach().clone() for name, weight in self.network.state_dict().items()}
        self.optimizer = self._make_optimizer()
        self.epoch, self.step, self.best, self.best_epoch = 0, 0, -1.0, 0
        if not check_settings(folder, config) and self.group.is_first:
            write_json(folder / SETTINGS, config.to_dict())
        self.group.wait()  # until the settings are written
        if (folder / CHECKPOINT).exists():
            self._resume()
        self.model: nn.Module = self.network
        if self.group.size > 1:
            self.model = DistributedDataParallel(self.network)

    def _make_optimizer(self) -> torch.optim.AdamW:
        config = self.config
        trained = [weight for weight in self.network.parameters() if weight.requires_grad]
        groups = [
            {"params": [w for w in trained if w.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [w for w in trained if w.ndim <= 1], "weight_decay": 0.0},
        ]
        kernel: dict[str, bool] = {"fused": True} if self.device.type == "cuda" else {"foreach": True}
        return torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, config.beta_2), **kernel)

    @property
    def has_finished(self) -> bool:
        """Return whether all epochs are done, or validation has not improved for `patience` epochs."""
        return self.epoch >= self.config.epochs or self.epoch - self.best_epoch >= self.config.patience

    def epochs(self, on_step: Callable[[], None] = lambda: None) -> Iterator[Epoch]:
        """Train until the run has finished, and yield each epoch. `on_step` is called after each step."""
        log = TrainingLog(self.folder, self.epoch) if self.group.is_first else None
        try:
            while not self.has_finished:
                epoch = self._train_epoch(on_step)
                if log:
                    log.write(epoch)
                yield epoch
        finally:
            if log:
                log.close()

    @report_device_errors()
    def _train_epoch(self, on_step: Callable[[], None]) -> Epoch:
        start, number = time.monotonic(), self.epoch + 1
        seed = self.config.seed * 100003 + number  # nothing below depends on what was drawn before this epoch
        torch.manual_seed(seed + 7919 * self.group.rank)  # of dropout
        self.network.train()
        losses = torch.zeros((), device=self.device)
        state: Any = None
        for batch in self.batches.epoch(seed):
            loss, state = self.train_step(batch, state)
            losses += loss
            on_step()
        mean_loss = float(self.group.sum(losses / self.batches.steps() / self.group.size))
        self.epoch = number
        scores = self._validate()
        if self.config.keep == "last" or scores[0] > self.best:
            self.best, self.best_epoch = scores[0], number
            self._save_best()
        result = Epoch(number, mean_loss, *scores, self._rate(), time.monotonic() - start)
        self._save_checkpoint()
        return result

    def train_step(self, batch: Batch, state: Any) -> tuple[Tensor, Any]:
        """Learn from one batch, and return the loss and state. `state` is that of the previous step, or None."""
        initial = self.network.initial_state(len(batch.x))  # type: ignore[operator]
        with torch.no_grad():  # gradients end here
            state = initial if state is None else where(batch.fresh, initial, state)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits, state = self.model(batch.x, state)
        total = self.group.sum(batch.weight.sum()) / self.group.size
        loss = loss_of(logits, batch.y, batch.weight, self.config.clip_loss, total, self.config.pooling)
        if self.config.human_loss:
            loss = loss + self.config.human_loss * human_loss(logits.float(), batch.human, self.members)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.step += 1
        self._update_average(min(self.config.ema, (1 + self.step) / (10 + self.step)))
        return loss.detach(), state

    @torch.no_grad()
    def _update_average(self, decay: float) -> None:
        """Move the averaged weights and running statistics; integers are counts and are copied."""
        pairs = [(self.average[name], weight) for name, weight in self.network.state_dict().items()]
        floats = [(kept, new) for kept, new in pairs if new.is_floating_point()]
        torch._foreach_lerp_([kept for kept, _ in floats], [new for _, new in floats], 1 - decay)
        for kept, new in pairs:
            if not new.is_floating_point():
                kept.copy_(new)

    def _rate(self) -> float:
        config = self.config
        warmup = min(1.0, (self.step + 1) / config.warmup)
        progress = min(1.0, self.step / (config.epochs * self.batches.steps()))
        if config.schedule == "exponential":
            return config.rate * warmup * math.pow(config.last_rate, progress)
        return config.rate * warmup * 0.5 * (1 + math.cos(math.pi * progress))

    def predictions(self) -> tuple[Any, Any]:
        """Return probabilities [n, C] of the validation clips by the averaged weights: whole, and first 3 s."""
        with with_weights(self.network, self.average):
            count, early, pooling = len(self.data.valid.rows), self.data.early_frames, self.config.pooling
            settings = count, self.config.batch, early, self.dtype, pooling
            return predict(self.network, self.normalize, self._valid, *settings)

    def _validate(self) -> tuple[float, float, float]:
        """Return ROC-AUC, PR-AUC, and ROC-AUC after 3 s, the same in all processes."""
        values = torch.zeros(3, dtype=torch.float64, device=self.device)
        if self.group.is_first:
            whole, early = (metrics.score(part, self.data.targets, self.data.min_clips) for part in self.predictions())
            values = values.new_tensor([whole.roc_auc, whole.pr_auc, early.roc_auc])
        roc_auc, pr_auc, roc_auc_early = self.group.broadcast(values).tolist()
        return roc_auc, pr_auc, roc_auc_early

    def _save_best(self) -> None:
        if self.group.is_first:
            best = {"epoch": self.epoch, "roc_auc": self.best}
            trained = TrainedSystem(self.config, self.data.tags, self.normalize, self.network, best)
            save_run(self.folder, self.average, trained)

    def _save_checkpoint(self) -> None:
        if not self.group.is_first:
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
        weights = matching(tensors, self.average, "weight.", self.folder)
        average = matching(tensors, self.average, "average.", self.folder)
        trained = {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}
        moments = {m: matching(tensors, trained, f"{m}.", self.folder) for m in MOMENTS}
        self.network.load_state_dict(weights)
        for name, kept in self.average.items():
            kept.copy_(average[name])
        for name, weight in trained.items():
            own = {m: moments[m][name].to(self.device) for m in MOMENTS}
            step = torch.tensor(float(meta["step"]))
            self.optimizer.state[weight] = {"step": step.to(self.device), **own}
        self.epoch, self.step = meta["epoch"], meta["step"]
        self.best, self.best_epoch = meta["best"], meta["best_epoch"]


def loss_of(
    logits: Tensor, y: Tensor, weight: Tensor, clip_loss: float, total: Tensor, pooling: str = "mean"
) -> Tensor:
    """Return the cross-entropy of frames [N, F, C], weighted by [N, F] over `total`, plus `clip_loss` times that of
    the clips' scores. Logits [N, 1, C] describe whole clips and are compared with the mean of y alone.

    The scores are plain means over all frames with a weight, or the last one of them if `pooling` says so; both are
    compared with the mean of y.
    """
    used = (weight > 0).to(y.dtype)
    share = (used / used.sum(1, keepdim=True).clamp(min=1.0))[:, :, None]
    mean_y = (y * share).sum(1).clamp(0.0, 1.0)
    if logits.shape[1] < y.shape[1]:
        return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], mean_y)
    by_frame = nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(-1)
    loss = (by_frame * weight).sum() / total.clamp(min=1.0)
    if clip_loss:
        if pooling == "last":
            last = used.shape[1] - 1 - used.flip(1).argmax(1)
            share = nn.functional.one_hot(last, used.shape[1])[:, :, None].to(y.dtype)
        score = (torch.sigmoid(logits) * share).sum(1).clamp(1e-5, 1 - 1e-5)
        loss = loss + clip_loss * nn.functional.binary_cross_entropy(score, mean_y)
    return loss
