"""The LSTM layer with batch normalization inside, after Cooijmans et al. 2016, "Recurrent batch normalization".

    gates = BN(W x) + BN(U h') + b,   c = f c' + i g,   h = o tanh(BN(c))

Every BN has separate statistics for each frame since the stream began, because the first frames differ from later ones;
those of the last such frame, where the activations have settled, serve for all frames after it. In training a batch is
normalized by its own mean and variance, which also update the running ones; otherwise the running ones are used, so
that a stream does not depend on its neighbours. The scales start at 0.1 (Cooijmans, section 4).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamtag.model.lstm import STEPS
from trainer.systems.recurrent import candidate_mask, initialize

MOMENTUM = 0.1  # of the running statistics, per batch
EPSILON = 1e-3  # added to variances: at the first frame that of the state is zero


class StepNorm(nn.Module):
    """Normalization of x [N, F, K] at the ages [N, F] of the frames, times `scale`, plus `shift` if there is one.

    In training all streams of a batch have the age of the first one.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, size: int, shifted: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((size,), 0.1))
        self.shift = nn.Parameter(torch.zeros(size)) if shifted else None
        self.register_buffer("mean", torch.zeros(STEPS, size))
        self.register_buffer("variance", torch.ones(STEPS, size))

    def forward(self, x: Tensor, age: Tensor, first: int) -> Tensor:
        """`first` is age[0, 0], as a number."""
        if self.training:
            mean, variance = x.mean(0), x.var(0, unbiased=False)
            self._update(first, mean.detach(), variance.detach())
        else:
            position = age.clamp(max=STEPS - 1)
            mean, variance = self.mean[position], self.variance[position]
        y = (x - mean) * torch.rsqrt(variance + EPSILON) * self.scale
        return y if self.shift is None else y + self.shift

    def _update(self, first: int, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics; all frames from the last separate one on update it by their mean."""
        separate = max(0, min(len(mean), STEPS - 1 - first))
        for kept, new in ((self.mean, mean), (self.variance, variance)):
            kept[first : first + separate].lerp_(new[:separate], MOMENTUM)
            if separate < len(new):
                kept[-1].lerp_(new[separate:].mean(0), MOMENTUM)


class BNLSTMLayer(nn.Module):
    """An LSTM layer in float32, x [N, F, I] -> y [N, F, H]. Its cells are the hidden state and the cell, [N, 2, H]."""

    cells = 2

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden, inputs))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(4 * hidden))
        initialize(self.weight_ih, recurrent=False, gates=4)
        initialize(self.weight_hh, recurrent=True, gates=4)
        self.bias.data[hidden : 2 * hidden] = 1.0
        self.norm_x, self.norm_h = StepNorm(4 * hidden, shifted=False), StepNorm(4 * hidden, shifted=False)
        self.norm_c = StepNorm(hidden, shifted=True)

    def forward(self, x: Tensor, cells: Tensor, age: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            return self._run(x.float(), cells, age, dropout)

    def _run(self, x: Tensor, cells: Tensor, age: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        h, c = cells[:, 0], cells[:, 1]
        position = age[:, None] + torch.arange(x.shape[1], device=x.device)
        first = int(age[0]) if self.training else 0
        projected = self.norm_x(x @ self.weight_ih.t(), position, first) + self.bias
        mask = candidate_mask(projected.transpose(0, 1), c.shape[1], dropout)
        outputs = []
        for t in range(x.shape[1]):
            age_t = position[:, t : t + 1]
            gates = projected[:, t] + self.norm_h((h @ self.weight_hh.t())[:, None], age_t, first + t)[:, 0]
            i, f, g, o = gates.chunk(4, dim=1)
            g = torch.tanh(g)
            if mask is not None:
                g = g * mask[t]
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * g
            h = torch.sigmoid(o) * torch.tanh(self.norm_c(c[:, None], age_t, first + t)[:, 0])
            outputs.append(h)
        return torch.stack(outputs, dim=1), torch.stack([h, c], dim=1)
