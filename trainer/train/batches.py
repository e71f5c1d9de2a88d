"""The steps of an epoch as tensors on the device: features standardised and changed, targets, weights."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from streamtag.errors import SpecError
from trainer.features.normalization import Normalizer
from trainer.train.augmentation import FeatureAugmentation, Sequences
from trainer.train.config import TrainConfig
from trainer.train.data import Data
from trainer.train.dataset import Frames
from trainer.train.distributed import Group
from trainer.train.sampler import Plan, SequenceSampler

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """The slots of this process. x [N, F, P] standardised features, y [N, F, C] targets, weight [N, F], fresh [N]:
    starts from silence."""

    x: Tensor
    y: Tensor
    weight: Tensor
    fresh: Tensor


class Batches:
    """Makes the batches of one process of `group`. Raises SpecError if the step cannot be shared evenly."""

    def __init__(
        self, data: Data, config: TrainConfig, normalize: Normalizer, device: torch.device, group: Group
    ) -> None:
        self._config, self._normalize, self._device = config, normalize, device
        self._listeners = SequenceSampler(data.training, config, data.hop_s)
        self._frames = Frames(data.training, device)
        self._changes = FeatureAugmentation(config, torch.from_numpy(data.offsets).to(device))
        slots = self._listeners.slots
        if slots % group.size or (group.size > 1 and slots // group.size % 2):
            raise SpecError(f"batch: {slots} clips a step cannot be shared by {group.size} processes in pairs")
        share = slots // group.size
        self._part = slice(group.rank * share, (group.rank + 1) * share)

    @property
    def resident(self) -> bool:
        """The features lie on the GPU."""
        return self._frames.resident is not None

    def steps(self) -> int:
        return self._listeners.steps()

    def epoch(self, seed: int) -> Iterator[Batch]:
        """The same seed gives the same batches."""
        batches = (self._batch(plan) for plan in self._listeners.epoch(seed))
        return _ahead(batches) if self._device.type == "cuda" else batches

    @torch.no_grad()
    def _batch(self, plan: Plan) -> Batch:
        part, slots, frames = self._part, len(plan.fresh), self._config.frames
        inside = (piece for piece in plan.pieces if part.start <= piece.slot < part.stop)
        own = [replace(piece, slot=piece.slot - part.start) for piece in inside]
        x, known = self._frames.take(own, part.stop - part.start, frames)
        y = np.zeros((part.stop - part.start, frames, own[0].row.y.shape[1]), dtype=np.float16)
        for piece in own:
            constant = len(piece.row.y) == 1
            said = piece.row.y if constant else piece.row.y[piece.at : piece.at + piece.count]
            y[piece.slot, piece.place : piece.place + piece.count] = said
        weight = torch.from_numpy(plan.weight[part]).to(self._device)
        plain = Sequences(self._normalize(x) * known, torch.from_numpy(y).to(self._device).float(), weight)
        changed = self._changes.apply(plain, slots, part, plan.seed)
        fresh = torch.from_numpy(plan.fresh[part]).to(self._device)
        return Batch(changed.x, changed.y, changed.weight, fresh)


def _ahead(values: Iterator[T]) -> Iterator[T]:
    """The same values, each made while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, values, None)
        while (value := coming.result()) is not None:
            coming = pool.submit(next, values, None)
            yield value
