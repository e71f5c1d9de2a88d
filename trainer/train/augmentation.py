"""Augmentation of normalized features during training.

All random numbers are drawn for the whole step from one seed and then cut to the slots of this process, so the number
of processes that share a step changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.train.config import TrainConfig

MAX_TIME_MASK_DIVISOR, MAX_PATH_MASK_DIVISOR = 10, 12  # a mask hides less than one part in so many


@dataclass(frozen=True)
class Sequences:
    """Normalized features `x` [N, F, P], targets `y` [N, F, C] and `weight` [N, F].

    `human` [N, K] is how much each human label of a sequence counts.
    """

    x: Tensor
    y: Tensor
    weight: Tensor
    human: Tensor


class FeatureAugmentation:
    """Changes of loudness, tilt and noise, masks in time and features, dropped features, and mixup.

    `offsets` [2, P]: what one decibel of loudness, and of tilt per octave, adds to the features.
    """

    def __init__(self, config: TrainConfig, offsets: Tensor) -> None:
        self._config, self._offsets = config, offsets

    def apply(self, plain: Sequences, slots: int, part: slice, seed: int) -> Sequences:
        """Change the sequences of the slots in `part`, out of all `slots` of the step."""
        config, (_, frames, width) = self._config, plain.x.shape
        generator = torch.Generator().manual_seed(seed)
        device = plain.x.device

        def cut(values: Tensor) -> Tensor:
            return values[part].to(device)

        levels = torch.randn(slots, 2, generator=generator) * torch.tensor([config.gain_db, config.tilt_db])
        x = plain.x + (cut(levels) @ self._offsets)[:, None]
        sizes = cut(torch.rand(slots, 1, 1, generator=generator) * config.noise)
        if config.noise:
            noise = torch.Generator(device).manual_seed(seed)
            x.addcmul_(torch.randn(slots, frames, width, generator=noise, device=device)[part], sizes)
        in_time = _masks(slots, frames, config.time_masks, frames // MAX_TIME_MASK_DIVISOR, generator)
        in_paths = _masks(slots, width, config.path_masks, width // MAX_PATH_MASK_DIVISOR, generator)
        hidden = cut(in_time)[:, :, None] | cut(in_paths)[:, None]
        kept = cut(torch.rand(slots, 1, width, generator=generator) >= config.input_dropout)
        x = x.masked_fill(hidden, 0.0) * (kept / (1.0 - config.input_dropout))
        shares = 0.5 + 0.5 * torch.rand(slots, 1, 1, generator=generator)
        mixed = cut(torch.rand(slots, 1, 1, generator=generator) < config.mixup)
        share = torch.where(mixed, cut(shares), torch.ones((), device=device))
        other = mixup_partners(len(x)).to(device)
        weight = torch.where(mixed[:, :, 0], torch.minimum(plain.weight, plain.weight[other]), plain.weight)
        human = plain.human * ~mixed[:, :, 0]  # people have not listened to mixtures
        y = share * plain.y + (1 - share) * plain.y[other]
        return Sequences(share * x + (1 - share) * x[other], y, weight, human)


def mixup_partners(slots: int) -> Tensor:
    """Return the slot [N] that each slot may be mixed with: 0 with 1, 2 with 3, ...; an odd last one with itself."""
    other = torch.arange(slots) ^ 1
    return torch.where(other < slots, other, torch.arange(slots))


def _masks(slots: int, length: int, masks: int, limit: int, generator: torch.Generator) -> Tensor:
    """Return [slots, length], true in `masks` ranges, each shorter than `limit`, at random positions."""
    size = torch.randint(0, max(limit, 1), (slots, masks, 1), generator=generator)
    start = (torch.rand(slots, masks, 1, generator=generator) * (length - size + 1)).long()
    position = torch.arange(length)
    return ((position >= start) & (position < start + size)).any(dim=1)
