"""The long wavelets and slow envelopes: windows of several hops, at rates so low that this is cheap."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamtag.model.cascade import Cascade, Geometry
from streamtag.model.layout import AUDIO_RATE, BAND_RATE, Layout, Parts, sizes

WIDTHS = 14.0, 8.0  # aliasing stays near 1e-3 of S2's norm, most of which lies here


class LowRateBranch(nn.Module):
    """The paths of `frames` successive frames from one long window.

    bands [N, F, K, span/32], audio [N, F, span/8] -> [N, F * frames, paths]. `paths` tells their order.
    """

    def __init__(self, layout: Layout, parts: Parts, frames: int) -> None:
        super().__init__()
        self.span = layout.span(frames)
        lengths = sizes(self.span, parts[0]), sizes(self.span, parts[1])
        geometry = Geometry(self.span, self.span // AUDIO_RATE, *lengths, *WIDTHS)
        weights, size = layout.span_weights(frames), self.span // BAND_RATE
        self.cascade = Cascade(layout.bank, geometry, layout.long, layout.short, size, layout.slow, weights)
        self.paths = self.cascade.paths

    def forward(self, bands: Tensor, audio: Tensor) -> Tensor:
        shape = audio.shape[:2]
        sums: Tensor
        sums, _ = self.cascade(torch.fft.rfft(audio.flatten(0, 1)), [bands.flatten(0, 1)])
        return sums.movedim(-1, -2).reshape(shape[0], -1, sums.shape[-2])
