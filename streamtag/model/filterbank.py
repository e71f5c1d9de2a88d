"""The wavelets: kymatio's Morlet filter banks, and the bandwidths that determine sampling rates.

Letters as in the scattering literature: ξ is the centre frequency and σ the width of a Gaussian band, both in cycles
per sample; ψ1 and ψ2 are the band-passes of the two orders, φ is the low-pass, j the octave.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from kymatio.scattering1d.filter_bank import compute_params_filterbank, morlet_1d

from streamtag.spec import ScatteringSpec

Floats = npt.NDArray[np.float64]

SIGMA0 = 0.1  # kymatio's width of the low-pass at T = 1, in cycles per sample
ALPHA = 5.0  # kymatio's tolerance that determines j
R_PSI = math.sqrt(0.5)  # kymatio's overlap of neighbouring wavelets


@dataclass(frozen=True)
class Wavelet:
    """One ψ: centre ξ, width σ (cycles per sample) and octave j."""

    xi: float
    sigma: float
    j: int

    @property
    def sigma_t(self) -> float:
        """Width in time, in samples."""
        return width_in_time(self.sigma)

    def response(self, size: int) -> Floats:
        """Return the real response at the frequencies 0, 1/size, ..., (size - 1)/size: [size]."""
        return np.asarray(morlet_1d(size, self.xi, self.sigma), dtype=np.float64)


@dataclass(frozen=True)
class FilterBank:
    """The wavelets of both orders, the low-pass, and the scattering paths in kymatio's order."""

    first: tuple[Wavelet, ...]
    second: tuple[Wavelet, ...]
    sigma_low: float

    @classmethod
    def build(cls, spec: ScatteringSpec) -> FilterBank:
        lowest = SIGMA0 / 2**spec.J
        first, second = (
            tuple(Wavelet(float(x), float(s), int(j)) for x, s, j in zip(*parameters, strict=True))
            for parameters in (compute_params_filterbank(lowest, q, ALPHA, R_PSI) for q in (spec.Q, 1))
        )
        return cls(first, second, SIGMA0 / spec.T)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Second-order paths (n1, n2): only envelopes that are slower than the band that carries them."""
        return tuple(
            (n1, n2) for n1, psi1 in enumerate(self.first) for n2, psi2 in enumerate(self.second) if psi2.j > psi1.j
        )

    @property
    def path_count(self) -> int:
        return 1 + len(self.first) + len(self.pairs)

    def phi(self, times: Floats) -> Floats:
        """Return kymatio's Gaussian low-pass at times in samples; its sum over whole samples is 1."""
        width = width_in_time(self.sigma_low)
        return np.asarray(np.exp(-0.5 * (times / width) ** 2) / (width * math.sqrt(2 * math.pi)), dtype=np.float64)


def width_in_time(sigma: float) -> float:
    """Return the standard deviation in samples of the Gaussian whose spectrum has width `sigma`, cycles per sample."""
    return 1 / (2 * math.pi * sigma)


def envelope_band(psi1: Wavelet, psi2: Wavelet) -> tuple[float, float]:
    """Return centre and width of the band that |x*ψ1| * ψ2 really fills, in cycles per sample.

    The envelope of a band of width σ1 has a spectrum around zero of width √2 σ1 (the correlation of two such bands).
    Its product with ψ2 is a Gaussian again, narrower than both.
    """
    spread, width = 2 * psi1.sigma**2, psi2.sigma**2
    return psi2.xi * spread / (spread + width), math.sqrt(spread * width / (spread + width))


def low_pass_response(size: int, count: int, edge: float, rate: float) -> Floats:
    """Return an anti-aliasing low-pass at the frequencies 0, 1/size, ..., (count - 1)/size: [count].

    It is flat up to `edge` and then falls as a Gaussian's integral, so that aliases at the sampling `rate` (both in
    cycles per sample) stay above `edge`. Its support in time is as short as that allows.
    """
    frequencies = np.arange(count) / size
    middle = rate / 2
    width = (middle - edge) / 4
    return np.array([0.5 * math.erfc((f - middle) / (width * math.sqrt(2))) for f in frequencies])


def fade_out(size: int) -> Floats:
    """Return half a cosine from 1 to 0: [size]."""
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * (np.arange(size) + 0.5) / size), dtype=np.float64)
