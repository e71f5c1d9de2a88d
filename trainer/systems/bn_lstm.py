"""The LSTM layer with batch normalization inside, after Cooijmans et al. 2016, "Recurrent batch normalization".

    gates = BN(W x) + BN(U h') + b,   c = f c' + i g,   h = o tanh(BN(c))

Every BN has separate statistics for each frame since the stream began, because the first frames differ from later ones;
those of the last such frame, where the activations have settled, serve for all frames after it. In training a batch is
normalized by its own mean and variance, which also update the running ones; otherwise the running ones are used, so
that a stream does not depend on its neighbours. The scales start at 0.1 (Cooijmans, section 4).

In training a layer is one autograd function: half the CPU time of recorded single operations (4 layers of 512, 16
clips of 114 frames).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
            self.update(first, mean.detach(), variance.detach())
        else:
            position = age.clamp(max=STEPS - 1)
            mean, variance = self.mean[position], self.variance[position]
        y = (x - mean) * torch.rsqrt(variance + EPSILON) * self.scale
        return y if self.shift is None else y + self.shift

    def update(self, first: int, mean: Tensor, variance: Tensor) -> None:
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
        if self.training:
            mask = candidate_mask(projected.transpose(0, 1), c.shape[1], dropout)
            scales = self.norm_h.scale, self.norm_c.scale, self.norm_c.shift
            steps = projected.transpose(0, 1).contiguous()
            y, h, c, mean_h, variance_h, mean_c, variance_c = _apply(steps, h, c, self.weight_hh, *scales, mask)
            self.norm_h.update(first, mean_h, variance_h)
            self.norm_c.update(first, mean_c, variance_c)
            return y.transpose(0, 1), torch.stack([h, c], dim=1)
        outputs = []
        for t in range(x.shape[1]):
            age_t = position[:, t : t + 1]
            gates = projected[:, t] + self.norm_h((h @ self.weight_hh.t())[:, None], age_t, first)[:, 0]
            i, f, g, o = gates.chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(self.norm_c(c[:, None], age_t, first)[:, 0])
            outputs.append(h)
        return torch.stack(outputs, dim=1), torch.stack([h, c], dim=1)


class _BNLSTMFunction(torch.autograd.Function):
    """The recurrence of one layer over a sequence, time first, each frame normalized by its batch.

    With x̂ = (x - mean) / σ over the batch and the gradient d of x̂, that of x is
    (d - mean(d) - x̂ mean(d x̂)) / σ (Ioffe and Szegedy 2015, section 3).
    """

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        h: Tensor,
        c: Tensor,
        w_hh: Tensor,
        scale_h: Tensor,
        scale_c: Tensor,
        shift_c: Tensor,
        mask: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """projected [F, N, 4H] is BN(W x) + b, h and c [N, H], w_hh [4H, H], mask [F, N, H] of the candidates
        -> y [F, N, H], last h and c [N, H], and of each frame the mean and variance of U h' [F, 4H] and of c [F, H]."""
        frames, streams, hidden = *projected.shape[:2], h.shape[1]
        back = w_hh.t().contiguous()
        gates, product = torch.empty_like(projected), torch.empty_like(projected)  # product: U h', normalized
        y = h.new_empty(frames + 1, streams, hidden)  # y[0] and cells[0]: the state before the first frame
        cells, cell, bent = torch.empty_like(y), torch.empty_like(y[1:]), torch.empty_like(y[1:])  # cell: normalized
        mean_h, variance_h, inverse_h = (h.new_empty(frames, 4 * hidden) for _ in range(3))
        mean_c, variance_c, inverse_c = (h.new_empty(frames, hidden) for _ in range(3))
        y[0], cells[0] = h, c
        for t in range(frames):
            torch.mm(y[t], back, out=product[t])
            _normalize(product[t], mean_h[t], variance_h[t], inverse_h[t])
            torch.addcmul(projected[t], product[t], scale_h, out=gates[t])
            i, f, g, o = gates[t].chunk(4, dim=1)
            gates[t, :, : 2 * hidden].sigmoid_()
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g if mask is None else g * mask[t])
            cell[t] = cells[t + 1]
            _normalize(cell[t], mean_c[t], variance_c[t], inverse_c[t])
            torch.addcmul(shift_c, cell[t], scale_c, out=bent[t]).tanh_()
            torch.mul(o, bent[t], out=y[t + 1])
        ctx.save_for_backward(w_hh, scale_h, scale_c, gates, product, y, cells, cell, bent, inverse_h, inverse_c, mask)
        statistics = mean_h, variance_h, mean_c, variance_c
        ctx.mark_non_differentiable(*statistics)
        return y[1:], y[-1].clone(), cells[-1].clone(), *statistics

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, grad_h: Tensor, grad_c: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        w_hh, scale_h, scale_c, gates, product, y, cells, cell, bent, inverse_h, inverse_c, mask = ctx.saved_tensors
        hidden = y.shape[2]
        d_gates, d_product, d_bent = torch.empty_like(gates), torch.empty_like(gates), torch.empty_like(bent)
        dh, dc = grad_h.clone(), grad_c.clone()
        for t in range(len(gates) - 1, -1, -1):
            i, f, g, o = gates[t].chunk(4, dim=1)
            d_i, d_f, d_g, d_o = d_gates[t].chunk(4, dim=1)
            dh.add_(grad_y[t])
            torch.mul(dh, o, out=d_bent[t]).mul_(1 - bent[t].square())
            dc.add_(_through_norm(d_bent[t] * scale_c, cell[t], inverse_c[t]))
            torch.mul(dh, bent[t], out=d_o).mul_(o).mul_(1 - o)
            torch.mul(dc, g if mask is None else g * mask[t], out=d_i).mul_(i).mul_(1 - i)
            torch.mul(dc, cells[t], out=d_f).mul_(f).mul_(1 - f)
            torch.mul(dc, i, out=d_g).mul_(1 - g.square())
            if mask is not None:
                d_g.mul_(mask[t])
            d_product[t] = _through_norm(d_gates[t] * scale_h, product[t], inverse_h[t])
            torch.mm(d_product[t], w_hh, out=dh)
            dc.mul_(f)
        w_grad = d_product.flatten(0, 1).t() @ y[:-1].reshape(-1, hidden)
        scale_h_grad = (d_gates * product).sum((0, 1))
        return d_gates, dh, dc, w_grad, scale_h_grad, (d_bent * cell).sum((0, 1)), d_bent.sum((0, 1)), None


_apply: Callable[..., tuple[Tensor, ...]] = _BNLSTMFunction.apply


def _normalize(x: Tensor, mean: Tensor, variance: Tensor, inverse: Tensor) -> None:
    """Normalize x [N, K] in place by its statistics over N, and write them [K]: `inverse` is 1 / σ."""
    torch.mean(x, 0, out=mean)
    x.sub_(mean)
    torch.mean(x.square(), 0, out=variance)
    torch.add(variance, EPSILON, out=inverse).rsqrt_()
    x.mul_(inverse)


def _through_norm(d: Tensor, normalized: Tensor, inverse: Tensor) -> Tensor:
    """Return the gradient of x [N, K] for the gradient d of the normalized x, which it overwrites."""
    along = (d * normalized).mean(0)
    return d.sub_(d.mean(0)).addcmul_(normalized, along, value=-1).mul_(inverse)
