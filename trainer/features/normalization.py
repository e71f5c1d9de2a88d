"""Normalization of features before the network, with constants from the training set, for each kind of frontend."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from streamtag.model import Normalization
from streamtag.spec import NormalizationSpec
from trainer.data.manifest import Array
from trainer.features.frontends import frontend


class Standardization(nn.Module):
    """Standardization of logarithms [..., P]: mean 0 and standard deviation 1 each."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def forward(self, frames: Tensor) -> Tensor:
        return (frames - self.mean) / self.std

    def raw(self, frames: Tensor) -> Tensor:
        return frames

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Set the mean and standard deviation [P]; constant features get deviation 1."""
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))


Normalizer = Normalization | Standardization


def normalizer(front: str, spec: NormalizationSpec) -> Normalizer:
    """Return the unfitted normalization of a frontend. Spectrograms are logarithms already and ignore `compression`."""
    chosen = frontend(front)
    return Normalization(spec, chosen.spec) if front == "scattering" else Standardization(chosen.size)  # type: ignore[arg-type]


def fit(normalize: Normalizer, clips: Iterable[Array]) -> None:
    """Set the mean and standard deviation to those of all frames of the clips [F, P]."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for frames in clips:
        raw = normalize.raw(torch.from_numpy(frames)).double()
        count, total, squares = count + len(raw), total + raw.sum(0), squares + (raw**2).sum(0)
    mean = total / count
    normalize.fit(mean.float(), (squares / count - mean**2).clamp(min=0.0).sqrt().float())
