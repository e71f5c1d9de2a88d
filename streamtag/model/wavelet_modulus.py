"""Crops of a pool of spectra, all of one length at once: envelopes of bands, and low-passed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from streamtag.model.filterbank import Floats

MIN_RELATIVE_HEIGHT = 1e-9  # below this part of its peak a Gaussian counts as zero: denormal numbers are slow


@dataclass(frozen=True)
class Crop:
    """One filter: where its band starts in a row of spectra, and its real response there, [size]."""

    start: int
    response: Floats


class WaveletModulus(nn.Module):
    """Envelopes |x * ψ| of many bands with one crop length M, and their sums with C sets of weights.

    pool [B, points] complex -> envelopes [B, K, M] with M samples per window, sums [C, B, K].
    """

    starts: Tensor
    response: Tensor
    weights: Tensor

    def __init__(self, size: int, crops: Sequence[Crop], weights: Floats) -> None:
        super().__init__()
        self.size = size
        response = without_tails(np.stack([crop.response for crop in crops]))
        self.register_buffer("starts", torch.tensor([crop.start for crop in crops]), persistent=False)
        self.register_buffer("response", _interleave_complex(response), persistent=False)
        # weights first: the product of few sets is three times as fast this way
        self.register_buffer("weights", torch.tensor(weights.T, dtype=torch.float32).contiguous(), persistent=False)

    def forward(self, pool: Tensor) -> tuple[Tensor, Tensor]:
        bands = torch.fft.ifft(_crop_and_filter(pool, self.size, self.starts, self.response))
        # torch.abs of complex numbers is several times slower than these three passes
        real, imaginary = torch.view_as_real(bands).square_().unbind(-1)
        envelopes = torch.add(real, imaginary).sqrt_()
        sums = torch.mm(self.weights, envelopes.view(-1, self.size).t())
        return envelopes, sums.view(-1, *envelopes.shape[:2])


class LowPass(nn.Module):
    """Low-passed rows at a lower rate: pool [B, points] complex -> [B, K, M] real.

    `starts` [K] are the positions of frequency zero in the pool; `response` [K, bins] is the gain from there on.
    """

    starts: Tensor
    response: Tensor

    def __init__(self, size: int, starts: Sequence[int], response: Floats) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("starts", torch.tensor(starts), persistent=False)
        self.bins = response.shape[-1]
        self.register_buffer("response", _interleave_complex(response), persistent=False)

    def forward(self, pool: Tensor) -> Tensor:
        low: Tensor = torch.fft.irfft(_crop_and_filter(pool, self.bins, self.starts, self.response), n=self.size)
        return low


def _interleave_complex(response: Floats) -> Tensor:
    """Return [K, M, 2] for [K, M] real: one factor for each part of a complex number. Complex factors are slower."""
    return torch.tensor(np.stack([response, response], axis=-1), dtype=torch.float32)


def _crop_and_filter(pool: Tensor, size: int, starts: Tensor, response: Tensor) -> Tensor:
    """Return K crops of the pool [B, points] times their responses [K, size, 2]: [B, K, size] complex."""
    crops = pool.unfold(-1, size, 1)[:, starts]
    torch.view_as_real(crops).mul_(response)
    return crops


def without_tails(values: Floats) -> Floats:
    """Replace far tails by zeros."""
    return np.where(np.abs(values) < MIN_RELATIVE_HEIGHT * np.abs(values).max(), 0.0, values)
