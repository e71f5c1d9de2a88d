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
from streamtag.model.wavelet_modulus import Crop, WaveletModulus, without_tails

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


@dataclass(frozen=True)
class SpectrumSegment:
    """A segment of the pool for the spectra of `count` real rows of `size` points.

    Each row holds `below` negative frequencies, then zero up to Nyquist.
    """

    start: int
    count: int
    size: int
    below: int

    @property
    def width(self) -> int:
        return self.below + self.size // 2 + 1

    @property
    def end(self) -> int:
        return self.start + self.count * self.width

    def write(self, rows: Tensor, pool: Tensor) -> None:
        """Write the spectra of rows [B, count, size] to the pool [B, points]."""
        spectrum = torch.fft.rfft(rows)
        segment = pool[:, self.start : self.end].view(len(pool), self.count, self.width)
        segment[..., self.below :] = spectrum
        segment[..., : self.below] = spectrum[..., 1 : self.below + 1].flip(-1).conj()


class Cascade(nn.Module):
    """Both orders over windows of one geometry.

    `local` are the first-order bands computed from the window itself; `external` are bands whose envelopes are
    inputs, with `external_size` points per window. `pairs` are the second-order paths to compute. `weights(size)`
    returns the sets of φ for rows of `size` points: [size, C].

    `paths` is the order of the outputs, (n1,) and (n1, n2); `zeros` is where in the pool the spectrum of a band's
    envelope begins, `sizes` the number of points of that envelope.
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
        rows: dict[int, list[int]] = {}  # by size; external bands have a segment of their own, the last
        for n1 in local:
            rows.setdefault(geometry.size(geometry.sizes1, geometry.width1 * bank.first[n1].sigma), []).append(n1)
        self._first = [
            WaveletModulus(m, [_first_crop(bank.first[n1], geometry, m) for n1 in group], weights(m))
            for m, group in rows.items()
        ]
        self.sizes = {n1: m for m, group in rows.items() for n1 in group} | dict.fromkeys(external, external_size)

        cuts: dict[int, list[tuple[int, int, int]]] = {}  # by size: n1, n2, lowest bin
        for n1, n2 in pairs:
            centre, width = envelope_band(bank.first[n1], bank.second[n2])
            size = min(geometry.size(geometry.sizes2, geometry.width2 * width), self.sizes[n1])
            nyquist = self.sizes[n1] // 2
            low = math.floor(centre * geometry.span) - size // 2
            cuts.setdefault(size, []).append((n1, n2, min(max(low, 1 - nyquist), nyquist + 1 - size)))

        groups = list(rows.items()) + ([(external_size, list(external))] if external else [])
        self.segments: list[SpectrumSegment] = []
        self.zeros: dict[int, int] = {}
        for m, group in groups:
            below = max([-low for cut in cuts.values() for n1, _, low in cut if n1 in group], default=0)
            start = self.segments[-1].end if self.segments else 0
            segment = SpectrumSegment(start, len(group), m, max(0, below))
            self.zeros |= {n1: start + i * segment.width + segment.below for i, n1 in enumerate(group)}
            self.segments.append(segment)
        self._second = [
            WaveletModulus(m, [self._second_crop(n1, bank.second[n2], low, m) for n1, n2, low in cut], weights(m))
            for m, cut in cuts.items()
        ]
        self.parts = nn.ModuleList([*self._first, *self._second])
        self.paths: list[tuple[int, ...]] = [(n1,) for group in rows.values() for n1 in group]
        self.paths += [(n1, n2) for cut in cuts.values() for n1, n2, _ in cut]

    def forward(self, spectrum: Tensor, external: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
        """Return sums [B, paths, C] and the pool [B, points] of the first order's spectra.

        spectrum [B, bins] of the windows; external: envelopes [B, K, external_size].
        """
        pool = spectrum.new_empty(spectrum.shape[0], self.segments[-1].end)
        sums = []
        for modulus, segment in zip(self._first, self.segments, strict=False):
            U1, S1 = modulus.forward(spectrum)  # calling the module takes 7 us more
            segment.write(U1, pool)
            sums.append(S1)
        for envelopes, segment in zip(external, self.segments[len(self._first) :], strict=True):
            segment.write(envelopes, pool)
        sums += [modulus.forward(pool)[1] for modulus in self._second]
        return torch.cat(sums, dim=-1).movedim(0, -1), pool

    def _second_crop(self, n1: int, psi: Wavelet, low: int, size: int) -> Crop:
        """Return ψ2 from bin `low`, which may be negative, of an envelope's spectrum."""
        response = psi.response(np.arange(low, low + size), self.geometry.span)
        return Crop(self.zeros[n1] + low, response * (size / self.sizes[n1]))


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
    return Crop(start, response * (size / geometry.length))
