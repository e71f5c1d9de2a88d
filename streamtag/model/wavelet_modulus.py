"""Crops of spectra, all of one length at once: envelopes of bands, and low-passed rows.

A pool [B, points] contains the spectra of real rows, each from frequency zero to Nyquist. A crop may begin below zero
or end above Nyquist: what is there is the conjugate of what the row does have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamtag.model.filterbank import Floats

MIN_RELATIVE_HEIGHT = 1e-9  # below this part of its peak a Gaussian counts as zero: denormal numbers are slow


@dataclass(frozen=True)
class Spectrum:
    """The spectrum of a real row of `size` points in the pool: size // 2 + 1 points from `start` on."""

    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size // 2 + 1

    def find(self, bins: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return where in the pool any bins are, and which of them are conjugates."""
        bins = bins % self.size
        mirrored = bins > self.size // 2
        return self.start + np.where(mirrored, self.size - bins, bins), mirrored


@dataclass(frozen=True)
class Crop:
    """One filter: its lowest bin in a spectrum, which may be negative, and its real response from there on, [size]."""

    spectrum: Spectrum
    low: int
    response: Floats


class Crops(nn.Module):
    """pool [B, points] complex -> K crops of M points times their responses [B, K, M] complex."""

    points: Tensor
    factors: Tensor

    def __init__(self, crops: Sequence[Crop]) -> None:
        super().__init__()
        self.crops = tuple(crops)
        self.responses = without_tails(np.stack([crop.response for crop in crops]))
        bins = [crop.low + np.arange(self.responses.shape[-1]) for crop in crops]
        found = [crop.spectrum.find(row) for crop, row in zip(crops, bins, strict=True)]
        points, mirrored = (np.stack(part) for part in zip(*found, strict=True))
        # one factor for each part of a complex number, since complex factors are slower
        factors = np.stack([self.responses, np.where(mirrored, -1, 1) * self.responses], axis=-1)
        self.register_buffer("points", torch.from_numpy(points), persistent=False)
        self.register_buffer("factors", torch.tensor(factors, dtype=torch.float32), persistent=False)

    def take(self, pool: Tensor) -> Tensor:
        """Return the crops of a pool."""
        crops = pool[:, self.points]
        torch.view_as_real(crops).mul_(self.factors)
        return crops


class WaveletModulus(Crops):
    """Envelopes |x * ψ| of many bands with one crop length M, and their sums with C sets of weights.

    pool [B, points] complex -> envelopes [B, K, M] with M samples per window, sums [C, B, K].
    """

    weights: Tensor

    def __init__(self, crops: Sequence[Crop], weights: Floats) -> None:
        super().__init__(crops)
        # weights first: the product of few sets is three times as fast this way
        self.register_buffer("weights", torch.tensor(weights.T, dtype=torch.float32).contiguous(), persistent=False)

    def forward(self, pool: Tensor) -> tuple[Tensor, Tensor]:
        envelopes = torch.fft.ifft(self.take(pool)).abs()
        streams, bands, size = envelopes.shape
        sums = torch.mm(self.weights, envelopes.view(-1, size).t())
        return envelopes, sums.view(-1, streams, bands)


class LowPass(Crops):
    """Low-passed rows at a lower rate: pool [B, points] complex -> [B, K, M] real.

    `spectra` are those of the K rows; `response` [K, bins] is the gain from frequency zero on.
    """

    def __init__(self, size: int, spectra: Sequence[Spectrum], response: Floats) -> None:
        super().__init__([Crop(spectrum, 0, row) for spectrum, row in zip(spectra, response, strict=True)])
        self.size = size

    def forward(self, pool: Tensor) -> Tensor:
        low: Tensor = torch.fft.irfft(self.take(pool), n=self.size)
        return low


def without_tails(values: Floats) -> Floats:
    """Replace far tails by zeros."""
    return np.where(np.abs(values) < MIN_RELATIVE_HEIGHT * np.abs(values).max(), 0.0, values)
