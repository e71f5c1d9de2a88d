"""Two orders of wavelet moduli over one window of a signal, as batched FFTs.

    window ─ FFT ─► crop·ψ1 ─ inverse FFT ─► |·| = U1 ─► dot φ = S1
                                              └ FFT ─► crop·ψ2 ─ inverse FFT ─► |·| = U2 ─► dot φ = S2

It is fast because a band is cropped out of the spectrum at a length in proportion to its *width* (the modulus discards
the carrier, so the crop may start anywhere), all crops of one length share one inverse FFT, and φ is needed only once
per hop, so it is a dot product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from streamtag.model.filterbank import FilterBank, Floats, Wavelet, envelope_band
from streamtag.model.wavelet_modulus import Crop, Spectrum, WaveletModulus, without_tails

SIZE_TOLERANCE = 0.99  # a length that is too short by one percent is still used


@dataclass(frozen=True)
class Geometry:
    """A window of `span` samples (at the signal's full rate) that arrives as `length` points.

    `sizes1` and `sizes2` are the lengths in points at which bands of the two orders may be sampled. Each length costs
    a dozen calls whatever its work, so few lengths suit few windows at a time, and many lengths many windows. A band
    of width σ is sampled at `width1` σ or more in the first order, at `width2` σ in the second.
    """

    span: int
    length: int
    sizes1: tuple[int, ...]
    sizes2: tuple[int, ...]
    width1: float
    width2: float

    def size(self, sizes: Sequence[int], width: float) -> int:
        """Return the smallest of `sizes` that samples a band with a width in cycles per sample."""
        return next((m for m in sorted(sizes) if m >= SIZE_TOLERANCE * width * self.span), max(sizes))


class Cascade(nn.Module):
    """Both orders over windows of one geometry.

    `local` are the first-order bands computed from the window itself; `external` are bands whose envelopes are
    inputs, with `external_size` points per window. `pairs` are the second-order paths to compute. `weights(size)`
    returns the sets of φ for rows of `size` points: [size, C].

    `paths` is the order of the outputs, (n1,) and (n1, n2); `spectra` are those of the bands' envelopes in the pool.
    """

    def __init__(
        self,
        bank: FilterBank,
        geometry: Geometry,
        local: Sequence[int],
        external: Sequence[int],
        external_size: int,
        pairs: Sequence[tuple[int, int]],
        weights: PhiWeights,
    ) -> None:
        super().__init__()
        self.geometry = geometry
        rows: dict[int, list[int]] = {}  # by size
        for n1 in local:
            rows.setdefault(geometry.size(geometry.sizes1, geometry.width1 * bank.first[n1].sigma), []).append(n1)
        self.external = len(external), external_size
        self.first = [
            WaveletModulus([_first_crop(bank.first[n1], geometry, m) for n1 in group], weights(m))
            for m, group in rows.items()
        ]
        self.spectra: dict[int, Spectrum] = {}
        end = 0
        for m, group in [*rows.items(), (external_size, external)]:
            for n1 in group:
                self.spectra[n1] = Spectrum(end, m)
                end = self.spectra[n1].end

        cuts: dict[int, list[tuple[int, int, int]]] = {}  # by size: n1, n2, lowest bin
        for n1, n2 in pairs:
            centre, width = envelope_band(bank.first[n1], bank.second[n2])
            size = min(geometry.size(geometry.sizes2, geometry.width2 * width), self.spectra[n1].size)
            nyquist = self.spectra[n1].size // 2
            low = math.floor(centre * geometry.span) - size // 2
            cuts.setdefault(size, []).append((n1, n2, min(max(low, 1 - nyquist), nyquist + 1 - size)))
        self.second = [
            WaveletModulus([self._second_crop(n1, bank.second[n2], low, m) for n1, n2, low in cut], weights(m))
            for m, cut in cuts.items()
        ]
        self.parts = nn.ModuleList([*self.first, *self.second])
        self.paths: list[tuple[int, ...]] = [(n1,) for group in rows.values() for n1 in group]
        self.paths += [(n1, n2) for cut in cuts.values() for n1, n2, _ in cut]

    def forward(self, spectrum: Tensor, external: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
        """Return sums [B, paths, C], and the pool [B, points] of the first order's spectra.

        spectrum [B, bins] of the windows; external: envelopes [B, K, external_size].
        """
        first = [modulus.forward(spectrum) for modulus in self.first]  # calling a module takes 7 us more
        envelopes = [*(rows for rows, _ in first), *external]
        pool = torch.cat([torch.fft.rfft(rows).flatten(1) for rows in envelopes], dim=1)
        second = [modulus.forward(pool) for modulus in self.second]
        return torch.cat([sums for _, sums in first + second], dim=-1).permute(1, 2, 0), pool

    def _second_crop(self, n1: int, psi: Wavelet, low: int, size: int) -> Crop:
        """Return ψ2 from bin `low`, which may be negative, of an envelope's spectrum."""
        response = psi.response(np.arange(low, low + size), self.geometry.span)
        return Crop(self.spectra[n1], low, response * (size / self.spectra[n1].size))


@dataclass(frozen=True)
class LowPassWindow:
    """φ centred at `centre`, over the samples start <= t < stop of a window; all count from its first sample.

    It falls smoothly over the last `fade` samples before `stop`: an abrupt end would let all frequencies into S0.
    """

    centre: int
    start: int
    stop: int
    fade: int = 0

    def weights(self, bank: FilterBank, times: Floats) -> Floats:
        """Return φ at times in samples: [size]."""
        inside = (times >= self.start) & (times < self.stop)
        end = np.clip((self.stop - times) / max(self.fade, 1), 0.0, 1.0)
        return np.asarray(np.where(inside, bank.phi(times - self.centre) * (0.5 - 0.5 * np.cos(np.pi * end)), 0.0))


@dataclass(frozen=True)
class PhiWeights:
    """φ as weights for rows of any size over a window of `span` samples: one column per position of φ."""

    bank: FilterBank
    span: int
    columns: tuple[LowPassWindow, ...]

    def __call__(self, size: int) -> Floats:
        """Return the weights [size, C]."""
        step = self.span / size
        times = np.asarray(np.arange(size) * step, dtype=np.float64)
        return without_tails(np.stack([step * column.weights(self.bank, times) for column in self.columns], axis=-1))


def _first_crop(psi: Wavelet, geometry: Geometry, size: int) -> Crop:
    """Return ψ1 for the spectrum of the window itself, whose bin k is the frequency k / span."""
    start = max(0, round(psi.xi * geometry.span) - size // 2)
    response = psi.response(np.arange(start, start + size), geometry.span)
    return Crop(Spectrum(0, geometry.length), start, response * (size / geometry.length))
