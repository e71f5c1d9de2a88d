"""Frames as the network's inputs: standardised, those of the scattering relative and compressed before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamtag.model.filterbank import FilterBank
from streamtag.spec import NormalizationSpec, ScatteringSpec

MIN_RATIO = 1e-3  # a ratio S2/S1 below this is no modulation


class Normalization(nn.Module):
    """frames [..., paths] -> network inputs [..., paths].

    S2 is divided by its S1 (Eq. 4 of Song et al. 2018; the ratio does not depend on loudness), and S1 by S0 if the spec
    says so. All paths are compressed if the spec says so, then standardised with the training set's mean and standard
    deviation.
    """

    mean: Tensor
    std: Tensor
    parents: Tensor

    def __init__(self, spec: NormalizationSpec, scattering: ScatteringSpec) -> None:
        super().__init__()
        self.spec = spec
        bank = FilterBank.build(scattering)
        self.first, self.size = len(bank.first), bank.path_count
        self.register_buffer("mean", torch.zeros(bank.path_count))
        self.register_buffer("std", torch.ones(bank.path_count))
        self.register_buffer("parents", torch.tensor([1 + n1 for n1, _ in bank.pairs]), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        return (self.raw(frames) - self.mean) / self.std

    def raw(self, frames: Tensor) -> Tensor:
        """Return ratios and compressed values [..., paths] before standardisation. S0 counts by its absolute value."""
        floor = self.spec.floor
        levels = frames[..., : 1 + self.first].abs()
        ratios = frames[..., 1 + self.first :].clamp_min(0.0) / (frames[..., self.parents].clamp_min(0.0) + floor)
        if self.spec.divide_s1:
            ratios = torch.cat([levels[..., 1:] / (levels[..., :1] + floor), ratios], dim=-1)
            levels = levels[..., :1]
        if self.spec.compression == "log":
            levels, ratios = torch.log(levels + floor), torch.log(ratios + MIN_RATIO)
        return torch.cat([levels, ratios], dim=-1)

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Set the mean and standard deviation [paths] of `raw` frames. A constant path gets deviation 1."""
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))


class Standardization(nn.Module):
    """Logarithms [..., size] -> network inputs [..., size] with the training set's mean and standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def forward(self, frames: Tensor) -> Tensor:
        return (frames - self.mean) / self.std

    def raw(self, frames: Tensor) -> Tensor:
        return frames

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Set the mean and standard deviation [size]. A constant feature gets deviation 1."""
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))


Normalizer = Normalization | Standardization
