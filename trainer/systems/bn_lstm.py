"""The LSTM layer with batch normalisation inside, after Cooijmans et al. 2016, "Recurrent batch normalization".

    gates = BN(W x) + BN(U h') + b,   c = f c' + i g,   h = o tanh(BN(c))

Every BN has statistics of its own for each frame since the stream began, since the first frames differ from the later
ones; from the last such frame on, where the activations have settled, its statistics serve for all time. In training
a batch is normalised by its own mean and variance, which also move the running ones; otherwise the running ones are
used, so that a stream's result does not depend on its neighbours. The scales begin at 0.1 (Cooijmans, section 4).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.systems.fast_gru import candidate_mask
from trainer.systems.recurrent import start_weights

STEPS = 114  # frames with statistics of their own: those of a clip of the paper
MOMENTUM = 0.1  # of the running statistics, per batch
EPSILON = 1e-3  # on top of variances: at the first frame the state has none


class StepNorm(nn.Module):
    """x [N, F, K] at the frames heard [N, F] -> x standardised, times `scale`, plus `shift` if there is one.

    In training the streams of a batch are taken to be equally old, as the first one is.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, size: int, shifted: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((size,), 0.1))
        self.shift = nn.Parameter(torch.zeros(size)) if shifted else None
        self.register_buffer("mean", torch.zeros(STEPS, size))
        self.register_buffer("variance", torch.ones(STEPS, size))

    def forward(self, x: Tensor, heard: Tensor, first: int) -> Tensor:
        """first: heard[0, 0], as a number."""
        if self.training:
            mean, variance = x.mean(0), x.var(0, unbiased=False)
            self._follow(first, mean.detach(), variance.detach())
        else:
            place = heard.clamp(max=STEPS - 1)
            mean, variance = self.mean[place], self.variance[place]
        y = (x - mean) * torch.rsqrt(variance + EPSILON) * self.scale
        return y if self.shift is None else y + self.shift

    def _follow(self, first: int, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; all that lies beyond the last place moves that by its mean."""
        apart = max(0, min(len(mean), STEPS - 1 - first))
        for kept, new in ((self.mean, mean), (self.variance, variance)):
            kept[first : first + apart].lerp_(new[:apart], MOMENTUM)
            if apart < len(new):
                kept[-1].lerp_(new[apart:].mean(0), MOMENTUM)


class BNLSTMLayer(nn.Module):
    """x [N, F, I] -> y [N, F, H]; its cells are the hidden state and the cell, [N, 2, H]. Its products are float32."""

    cells = 2

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden, inputs))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(4 * hidden))
        start_weights(self.weight_ih, recurrent=False, gates=4)
        start_weights(self.weight_hh, recurrent=True, gates=4)
        self.bias.data[hidden : 2 * hidden] = 1.0
        self.norm_x, self.norm_h = StepNorm(4 * hidden, shifted=False), StepNorm(4 * hidden, shifted=False)
        self.norm_c = StepNorm(hidden, shifted=True)

    def forward(self, x: Tensor, cells: Tensor, heard: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            return self._run(x.float(), cells, heard, dropout)

    def _run(self, x: Tensor, cells: Tensor, heard: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        h, c = cells[:, 0], cells[:, 1]
        place = heard[:, None] + torch.arange(x.shape[1], device=x.device)
        first = int(heard[0]) if self.training else 0
        given = self.norm_x(x @ self.weight_ih.t(), place, first) + self.bias
        mask = candidate_mask(given.transpose(0, 1), c.shape[1], dropout)
        outputs = []
        for t in range(x.shape[1]):
            now = place[:, t : t + 1]
            gates = given[:, t] + self.norm_h((h @ self.weight_hh.t())[:, None], now, first + t)[:, 0]
            i, f, g, o = gates.chunk(4, dim=1)
            g = torch.tanh(g)
            if mask is not None:
                g = g * mask[t]
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * g
            h = torch.sigmoid(o) * torch.tanh(self.norm_c(c[:, None], now, first + t)[:, 0])
            outputs.append(h)
        return torch.stack(outputs, dim=1), torch.stack([h, c], dim=1)
