"""The two branches of the scattering: short windows at the full rate, and long windows at low rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from streamtag.model.cascade import Cascade, Geometry
from streamtag.model.cascade_kernel import CascadeKernel
from streamtag.model.filterbank import low_pass_response
from streamtag.model.layout import AUDIO_RATE, BAND_RATE, BandLengths, Layout, lengths_in_points
from streamtag.model.wavelet_modulus import LowPass, Spectrum

HIGH_RATE_WIDTHS = 11.0, 8.0  # aliasing stays near 2e-4 (S1) and 1e-3 (S2) of the signal's norm
LOW_RATE_WIDTHS = 14.0, 8.0  # aliasing stays near 1e-3 of S2's norm, most of which is here


@dataclass(frozen=True)
class HighRateOutput:
    """Results of the windows of F hops; h is the hop in samples.

    sums [N, F, paths, 6] with φ (see Layout.hop_weights); bands [N, F, K, 9h/256] and audio [N, F, 9h/64] for the
    long windows: the hop's final points, then the provisional ones of the margin that follows it.
    """

    sums: Tensor
    bands: Tensor
    audio: Tensor


class HighRateBranch(nn.Module):
    """windows [N, F, block] of F hops -> HighRateOutput: all paths whose wavelets fit a hop's own window.

    `paths` is the order of the sums; () is S0.
    """

    phi: Tensor

    def __init__(self, layout: Layout, lengths: BandLengths) -> None:
        super().__init__()
        bank, block, short = layout.bank, layout.block, layout.short
        self.block, self.margin = block, layout.margin
        weights = layout.hop_weights()
        self.columns = len(weights.columns)
        phi = torch.tensor(weights(block).T, dtype=torch.float32)
        self.register_buffer("phi", phi.contiguous(), persistent=False)
        geometry = Geometry(block, block, *lengths_in_points(block, lengths), *HIGH_RATE_WIDTHS)
        self.cascade = Cascade(bank, geometry, short, (), 0, layout.short_pairs, weights)
        self.paths: list[tuple[int, ...]] = [(), *self.cascade.paths]

        size = block // AUDIO_RATE
        response = low_pass_response(block, size // 2 + 1, layout.audio_edge, 1 / AUDIO_RATE)
        self.audio = LowPass(size, [Spectrum(0, block)], response[None] * (size / block))
        size = block // BAND_RATE
        response = low_pass_response(block, size // 2 + 1, layout.band_edge, 1 / BAND_RATE)
        spectra = [self.cascade.spectra[n] for n in short]
        gains = np.stack([response * (size / spectrum.size) for spectrum in spectra])
        self.bands = LowPass(size, spectra, gains)
        self.kernel = CascadeKernel.build(self.cascade, self.phi.numpy(), [self.audio], [self.bands])

    def forward(self, windows: Tensor) -> HighRateOutput:
        streams, hops, _ = windows.shape
        rows = windows.reshape(streams * hops, self.block)
        if self.kernel and rows.is_cpu:
            sums, (audio, bands) = self.kernel.run(rows)
        else:
            spectrum = torch.fft.rfft(rows)
            sums, pool = self.cascade.forward(spectrum)
            sums = torch.cat([torch.mm(self.phi, rows.t()).t()[:, None], sums], dim=1)
            audio, bands = self.audio.forward(spectrum), self.bands.forward(pool)
        results = sums, bands[..., self.margin // BAND_RATE :], audio[:, 0, self.margin // AUDIO_RATE :]
        return HighRateOutput(*(x.view(streams, hops, *x.shape[1:]) for x in results))


class LowRateBranch(nn.Module):
    """The paths of `frames` successive frames from one long window.

    bands [N, F, K, span/32], audio [N, F, span/8] or shorter, silent after that -> [N, F * frames, paths]. `paths` is
    their order.
    """

    def __init__(self, layout: Layout, lengths: BandLengths, frames: int) -> None:
        super().__init__()
        self.span = layout.span(frames)
        points = lengths_in_points(self.span, lengths)
        geometry = Geometry(self.span, self.span // AUDIO_RATE, *points, *LOW_RATE_WIDTHS)
        weights, size = layout.span_weights(frames), self.span // BAND_RATE
        self.cascade = Cascade(layout.bank, geometry, layout.long, layout.short, size, layout.long_pairs, weights)
        self.kernel = CascadeKernel.build(self.cascade)
        self.paths = self.cascade.paths

    def forward(self, bands: Tensor, audio: Tensor) -> Tensor:
        rows = audio.flatten(0, 1)
        if self.kernel and rows.is_cpu:
            sums, _ = self.kernel.run(rows, bands.flatten(0, 1))
        else:
            sums, _ = self.cascade.forward(torch.fft.rfft(rows, n=self.span // AUDIO_RATE), [bands.flatten(0, 1)])
        return sums.transpose(1, 2).reshape(len(audio), -1, sums.shape[1])
