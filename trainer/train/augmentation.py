"""Augmentation of standardised features while training: each makes other numbers of the same music.

All that is drawn at random is drawn for the whole step from one seed, and cut to the slots of this process afterwards:
how many processes share a step changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.train.config import TrainConfig

WIDEST_TIME, WIDEST_PATHS = 10, 12  # a mask hides at most one part in so many


@dataclass(frozen=True)
class Sequences:
    """x [N, F, P] standardised features, y [N, F, C] targets, weight [N, F]."""

    x: Tensor
    y: Tensor
    weight: Tensor


class FeatureAugmentation:
    """offsets [2, P]: what one decibel of loudness, and of tilt per octave, adds to the features."""

    def __init__(self, config: TrainConfig, offsets: Tensor) -> None:
        self._config, self._offsets = config, offsets

    def apply(self, own: Sequences, slots: int, part: slice, seed: int) -> Sequences:
        """`own` holds the slots in `part` of all `slots` of the step."""
        config, (_, frames, width) = self._config, own.x.shape
        generator = torch.Generator().manual_seed(seed)
        device = own.x.device

        def drawn(values: Tensor) -> Tensor:
            return values[part].to(device)

        levels = torch.randn(slots, 2, generator=generator) * torch.tensor([config.gain_db, config.tilt_db])
        x = own.x + (drawn(levels) @ self._offsets)[:, None]
        sizes = drawn(torch.rand(slots, 1, 1, generator=generator) * config.noise)
        if config.noise:
            noise = torch.Generator(device).manual_seed(seed)
            x.addcmul_(torch.randn(slots, frames, width, generator=noise, device=device)[part], sizes)
        hidden = drawn(_masks(slots, frames, config.time_masks, frames // WIDEST_TIME, generator))[:, :, None]
        hidden = hidden | drawn(_masks(slots, width, config.path_masks, width // WIDEST_PATHS, generator))[:, None]
        kept = drawn(torch.rand(slots, 1, width, generator=generator) >= config.input_dropout)
        x = x.masked_fill(hidden, 0.0) * (kept / (1.0 - config.input_dropout))
        shares = 0.5 + 0.5 * torch.rand(slots, 1, 1, generator=generator)
        blended = drawn(torch.rand(slots, 1, 1, generator=generator) < config.mixup)
        share = torch.where(blended, drawn(shares), torch.ones((), device=device))
        other = neighbours(len(x)).to(device)
        weight = torch.where(blended[:, :, 0], torch.minimum(own.weight, own.weight[other]), own.weight)
        return Sequences(share * x + (1 - share) * x[other], share * own.y + (1 - share) * own.y[other], weight)


def neighbours(slots: int) -> Tensor:
    """With whom each slot may be blended, [N]: 0 with 1, 2 with 3, ...; an odd last one with itself."""
    other = torch.arange(slots) ^ 1
    return torch.where(other < slots, other, torch.arange(slots))


def _masks(slots: int, length: int, masks: int, widest: int, generator: torch.Generator) -> Tensor:
    """[slots, length]: true in `masks` stretches, each shorter than `widest`, at random places."""
    size = torch.randint(0, max(widest, 1), (slots, masks, 1), generator=generator)
    start = (torch.rand(slots, masks, 1, generator=generator) * (length - size + 1)).long()
    place = torch.arange(length)
    return ((place >= start) & (place < start + size)).any(dim=1)
