"""The wavelets: kymatio's Morlet filter banks, and the bandwidths that determine sampling rates.

Letters as in the scattering literature: ξ is the centre frequency and σ the width of a Gaussian band, both in cycles
per sample; ψ1 and ψ2 are the band-passes of the two orders, φ is the low-pass, j the octave.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamtag.spec import ScatteringSpec

Floats = npt.NDArray[np.float64]

SIGMA0 = 0.1  # kymatio's width of the low-pass at T = 1, in cycles per sample
ALPHA = 5.0  # kymatio's tolerance that determines j
FILTERS = Path(__file__).with_name("filters.json")  # ξ, σ and j of the default bank: kymatio takes 0.2 s to import
MAX_WIDTHS = 8.0  # a wavelet ends, in time, after this many of its widths: 1e-14 is left
MIN_SAMPLES = 8  # of a wavelet, per width in time, where its magnitudes are summed
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

    def response(self, bins: npt.NDArray[np.int64], size: int) -> Floats:
        """Return the real response at the frequencies bins/size: [bins].

        It is kymatio's morlet_1d(size, ξ, σ)[bins % size]: a Gaussian around ξ less one around zero, so that the mean
        vanishes, both of them periodic; the sum of |ψ(t)| over all samples is 1.
        """
        frequencies = bins % size / size
        around_xi, around_zero = self._gaussians(np.stack([frequencies - self.xi, frequencies]))
        return np.asarray((around_xi - self._kappa * around_zero) / self._norm)

    def _gaussians(self, frequencies: Floats) -> Floats:
        """Return the periodic Gaussian of width σ at frequencies in (-1, 1): [n, size]."""
        periods = frequencies + np.array([-1.0, 0.0, 1.0])[:, None, None]
        return np.asarray(np.exp(periods**2 * (-0.5 / self.sigma**2)).sum(axis=0))

    @cached_property
    def _kappa(self) -> float:
        """The part of the Gaussian around zero that cancels the mean."""
        at_xi, at_zero = self._gaussians(np.array([[-self.xi], [0.0]]))
        return float(at_xi[0] / at_zero[0])

    @cached_property
    def _norm(self) -> float:
        """The sum of |ψ(t)| over all samples t before it is scaled: σ√(2π) exp(-t²/2σt²) |exp(2πiξt) - κ|.

        It is smooth, so few samples of a long one give the same sum.
        """
        step = max(1, int(self.sigma_t / MIN_SAMPLES))
        times = step * np.arange(math.ceil(MAX_WIDTHS * self.sigma_t / step) + 1)
        carrier = 1 + self._kappa**2 - 2 * self._kappa * np.cos(2 * np.pi * self.xi * times)
        heights = np.exp(-0.5 * (times / self.sigma_t) ** 2) * np.sqrt(carrier)
        return float(step * self.sigma * math.sqrt(2 * math.pi) * (2 * heights.sum() - heights[0]))


@dataclass(frozen=True)
class FilterBank:
    """The wavelets of both orders, the low-pass, and the scattering paths in kymatio's order."""

    first: tuple[Wavelet, ...]
    second: tuple[Wavelet, ...]
    sigma_low: float

    @classmethod
    def build(cls, spec: ScatteringSpec) -> FilterBank:
        table = json.loads(FILTERS.read_text(encoding="utf-8"))
        if (table["J"], table["Q"]) != (spec.J, spec.Q):
            table = compute_filters(spec.J, spec.Q)
        first, second = (
            tuple(Wavelet(float(xi), float(sigma), int(j)) for xi, sigma, j in table[order])
            for order in ("first", "second")
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


def compute_filters(J: int, Q: int) -> dict[str, Any]:
    """Return kymatio's ξ, σ and j of the wavelets of both orders, for J octaves and Q wavelets per octave."""
    from kymatio.scattering1d.filter_bank import compute_params_filterbank

    orders = (compute_params_filterbank(SIGMA0 / 2**J, q, ALPHA, R_PSI) for q in (Q, 1))
    first, second = ([list(row) for row in zip(*parameters, strict=True)] for parameters in orders)
    return {"J": J, "Q": Q, "first": first, "second": second}


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
