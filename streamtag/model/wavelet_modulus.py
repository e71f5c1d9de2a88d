"""Pieces cut out of a pool of spectra, all of one length at once: envelopes of bands, low-passed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from streamtag.model.filterbank import Floats

TINY = 1e-9  # the part of a Gaussian's height where it ends: its far tail would be slow denormal numbers


@dataclass(frozen=True)
class Crop:
    """One filter: where its band starts in a row of spectra, and its real response there: [size]."""

    start: int
    response: Floats


class WaveletModulus(nn.Module):
    """Envelopes |x * ψ| of many bands that share one crop length M, and their sums with C sets of weights.

    pool [B, points] complex -> envelopes [B, K, M] of M samples a window, sums [C, B, K].
    """

    starts: Tensor
    response: Tensor
    weights: Tensor

    def __init__(self, size: int, crops: Sequence[Crop], weights: Floats) -> None:
        super().__init__()
        self.size = size
        response = without_tails(np.stack([crop.response for crop in crops]))
        self.register_buffer("starts", torch.tensor([crop.start for crop in crops]), persistent=False)
        self.register_buffer("response", _twice(response), persistent=False)
        # weights first: so the product of few sets is three times faster
        self.register_buffer("weights", torch.tensor(weights.T, dtype=torch.float32).contiguous(), persistent=False)

    def forward(self, pool: Tensor) -> tuple[Tensor, Tensor]:
        bands = torch.fft.ifft(_cropped(pool, self.size, self.starts, self.response))
        # torch.abs of complex numbers is several times slower than these three passes
        real, imaginary = torch.view_as_real(bands).square_().unbind(-1)
        envelopes = torch.add(real, imaginary).sqrt_()
        sums = torch.mm(self.weights, envelopes.view(-1, self.size).t())
        return envelopes, sums.view(-1, *envelopes.shape[:2])


class LowPass(nn.Module):
    """Low-passed rows at a lower rate: pool [B, points] complex -> [B, K, M] real.

    `starts` [K] are the places of frequency zero in the pool; `response` [K, bins] holds the gain from there on.
    """

    starts: Tensor
    response: Tensor

    def __init__(self, size: int, starts: Sequence[int], response: Floats) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("starts", torch.tensor(starts), persistent=False)
        self.bins = response.shape[-1]
        self.register_buffer("response", _twice(response), persistent=False)

    def forward(self, pool: Tensor) -> Tensor:
        low: Tensor = torch.fft.irfft(_cropped(pool, self.bins, self.starts, self.response), n=self.size)
        return low


def _twice(response: Floats) -> Tensor:
    """[K, M] real -> [K, M, 2]: for both parts of complex numbers. To multiply them by complex ones takes longer."""
    return torch.tensor(np.stack([response, response], axis=-1), dtype=torch.float32)


def _cropped(pool: Tensor, size: int, starts: Tensor, response: Tensor) -> Tensor:
    """pool [B, points] complex -> [B, K, size]: K pieces times their responses [K, size, 2] (see _twice)."""
    pieces = pool.unfold(-1, size, 1)[:, starts]
    torch.view_as_real(pieces).mul_(response)
    return pieces


def without_tails(values: Floats) -> Floats:
    """Far tails as zeros."""
    return np.where(np.abs(values) < TINY * np.abs(values).max(), 0.0, values)
