"""The steps of an epoch as tensors on the device: normalized and augmented features, targets, weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamtag.errors import SpecError
from streamtag.model.normalization import Normalizer
from streamtag.model.streaming import leaves
from trainer.train.augmentation import FeatureAugmentation, Sequences
from trainer.train.config import TrainConfig
from trainer.train.dataset import Segment, TrainingData
from trainer.train.distributed import Group
from trainer.train.frame_loader import FrameLoader
from trainer.train.human_labels import SlotLabels
from trainer.train.sampler import SequenceSampler, StepPlan


@dataclass(frozen=True)
class Batch:
    """The slots of this process: features `x` [N, F, P], targets `y` [N, F, C], `weight` [N, F], and what people said.

    `fresh` [N]: the slot starts from the initial state.
    """

    x: Tensor
    y: Tensor
    weight: Tensor
    fresh: Tensor
    human: SlotLabels


class Batches:
    """The batches of one process of `group`. Raises SpecError if a step cannot be divided evenly."""

    def __init__(
        self, data: TrainingData, config: TrainConfig, normalize: Normalizer, device: torch.device, group: Group
    ) -> None:
        self._config, self._normalize, self._device = config, normalize, device
        self._sampler = SequenceSampler(data.training, config, data.hop_s)
        self._loader = FrameLoader(data.training, device)
        self._concepts = data.members.shape[1]
        self._augmentation = FeatureAugmentation(config, torch.from_numpy(data.offsets).to(device))
        slots = self._sampler.slots
        if slots % group.size or (group.size > 1 and slots // group.size % 2):
            raise SpecError(f"batch: {slots} clips a step cannot be shared by {group.size} processes in pairs")
        share = slots // group.size
        self._part = slice(group.rank * share, (group.rank + 1) * share)

    @property
    def is_resident(self) -> bool:
        """Return whether all features are on the GPU."""
        return self._loader.resident is not None

    def steps(self) -> int:
        return self._sampler.steps

    def epoch(self, seed: int) -> Iterator[Batch]:
        """Yield the batches for a seed."""
        batches = (self._batch(plan) for plan in self._sampler.epoch(seed))
        return _prefetch(batches, self._device) if self._device.type == "cuda" else batches

    @torch.no_grad()
    def _batch(self, plan: StepPlan) -> Batch:
        part, slots, frames = self._part, len(plan.fresh), self._config.frames
        inside = (segment for segment in plan.segments if part.start <= segment.slot < part.stop)
        own = [replace(segment, slot=segment.slot - part.start) for segment in inside]
        x, mask = self._loader.load(own, part.stop - part.start, frames)
        y = np.zeros((part.stop - part.start, frames, own[0].row.y.shape[1]), dtype=np.float16)
        for segment in own:
            targets = segment.row.y
            values = targets if len(targets) == 1 else targets[segment.start : segment.start + segment.count]
            y[segment.slot, segment.position : segment.position + segment.count] = values
        weight = torch.from_numpy(plan.weight[part]).to(self._device)
        human = self._human_labels(own, part.stop - part.start)
        targets_y = torch.from_numpy(y).to(self._device).float()
        plain = Sequences(self._normalize(x) * mask, targets_y, weight, human.weights)
        changed = self._augmentation.apply(plain, slots, part, plan.seed)
        fresh = torch.from_numpy(plan.fresh[part]).to(self._device)
        return Batch(changed.x, changed.y, changed.weight, fresh, replace(human, weights=changed.human))

    def _human_labels(self, segments: Sequence[Segment], slots: int) -> SlotLabels:
        """Return the labels of the longest segment that people annotated in each slot."""
        present, weights = np.zeros((2, slots, self._concepts), dtype=np.float32)
        frames = np.zeros((slots, self._config.frames), dtype=np.float32)
        for segment in sorted(segments, key=lambda segment: segment.count):
            if segment.row.human:
                present[segment.slot], weights[segment.slot] = segment.row.human.present, segment.row.human.weights
                frames[segment.slot] = 0.0
                frames[segment.slot, segment.position : segment.position + segment.count] = 1.0
        return SlotLabels(*(torch.from_numpy(values).to(self._device) for values in (present, weights, frames)))


def _prefetch(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield the batches, preparing each on a second stream of the GPU while the one before is used.

    On the same stream the copies to the GPU would wait for the step that was requested before them.
    """
    beside: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream(device))  # for the features, which were copied there

    def prepare() -> tuple[Batch, Any] | None:
        with torch.cuda.stream(beside):
            batch = next(batches, None)
            return None if batch is None else (batch, beside.record_event())

    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(prepare)
        while (prepared := pending.result()) is not None:
            pending = pool.submit(prepare)
            batch, is_ready = prepared
            current = torch.cuda.current_stream(device)
            current.wait_event(is_ready)
            for tensor in leaves(batch).values():
                tensor.record_stream(current)  # its memory must not be used again before this stream has read it
            yield batch
