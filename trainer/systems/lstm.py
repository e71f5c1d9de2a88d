"""The LSTM layer: torch's, and our own where recurrent dropout is used or a CPU computes in bfloat16.

On a CPU torch's is twice as fast as ours in float32 and equal in bfloat16 (4 layers of 512, 64 clips of 114 frames,
forward and backward, one thread: 1.7 s against 3.5 s, 0.97 s against 0.96 s), where many CPUs lack a kernel for it.

There is one bias per gate, as in the paper's counts: torch's second set of biases is not trained and stays zero. The
forget gates' biases start at 1, as in TensorFlow at that time, which the paper used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainer.systems.recurrent import candidate_mask, initialize, product_dtype, without_autocast


class LSTMLayer(nn.Module):
    """An LSTM layer, x [N, F, I] -> y [N, F, H]. Its cells are the hidden state and the cell, [N, 2, H]."""

    cells = 2

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True)
        w_ih, w_hh, b_ih, b_hh = self.lstm.all_weights[0]
        initialize(w_ih, recurrent=False, gates=4)
        initialize(w_hh, recurrent=True, gates=4)
        nn.init.zeros_(b_ih)
        b_ih.data[hidden : 2 * hidden] = 1.0
        nn.init.zeros_(b_hh).requires_grad_(False)

    def forward(self, x: Tensor, cells: Tensor, age: Tensor, dropout: float) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        if not dropout and (x.is_cuda or product_dtype(x) == torch.float32):
            h, c = cells.transpose(0, 1).contiguous().chunk(2)
            with without_autocast(x):
                y, (h, c) = self.lstm(x.float(), (h, c))
            return y, torch.cat([h, c]).transpose(0, 1)
        y, h, c = run_lstm(self.lstm, x, cells[:, 0], cells[:, 1], dropout, product_dtype(x))
        return y, torch.stack([h, c], dim=1)


class _LSTMFunction(torch.autograd.Function):
    """One layer over a sequence, time first.

    With i, f, o the gates, g the candidate (after its mask m, if there is recurrent dropout), c' the previous cell:
    c = f c' + i g, h = o tanh(c). For gradients dh of h and dc of c (to which h adds dh·o(1 - tanh²c)), the
    gradients of the pre-activations are dc·A with A_i = g i(1 - i), A_f = c' f(1 - f), A_g = i m(1 - tanh²), and
    dh·A_o with A_o = tanh(c) o(1 - o): known going forward. torch's order of the gates: i, f, g, o.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h0: Tensor,
        c0: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        bias: Tensor,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x [F, N, I] in the products' precision, h0 and c0 [N, H] float32, mask [F, N, H] of the candidates
        -> y [F, N, H] like x, last h and c [N, H]."""
        frames, streams, inputs = x.shape
        hidden, kind = h0.shape[1], x.dtype
        w_in, w_rec = w_ih.to(kind), w_hh.to(kind).t().contiguous()
        gi = torch.addmm(bias.to(kind), x.reshape(-1, inputs), w_in.t()).view(frames, streams, 4 * hidden)

        y = x.new_empty(frames + 1, streams, hidden)  # y[0]: the state before the first frame
        keep = any(ctx.needs_input_grad)
        size = frames if keep else 1
        factors = x.new_empty(size, streams, 4 * hidden)  # A_i, A_f, A_g, A_o
        factor_c = x.new_empty(size, streams, hidden)  # of what h adds to dc
        forgotten = x.new_empty(size, streams, hidden)  # 1 - f: near 1 a bfloat16 f would forget too fast

        h, c = h0.clone(), c0.clone()
        y[0].copy_(h)
        gh = x.new_empty(streams, 4 * hidden)
        gates = h.new_empty(streams, 4 * hidden)
        i, f, g, o = torch.split(gates, hidden, dim=1)
        a = h.new_empty(streams, 4 * hidden)
        a_i, a_f, a_g, a_o = torch.split(a, hidden, dim=1)
        bent, loose = torch.empty_like(h), torch.empty_like(h)
        for t in range(frames):
            torch.mm(y[t], w_rec, out=gh)
            gates.copy_(gh).add_(gi[t])
            gates[:, : 2 * hidden].sigmoid_()
            g.tanh_()
            o.sigmoid_()
            if keep:
                torch.addcmul(i, i, g.square(), value=-1, out=a_g)
                torch.addcmul(f, f, f, value=-1, out=a_f).mul_(c)
            if mask is not None:
                g.mul_(mask[t])
            c.mul_(f).addcmul_(i, g)
            torch.tanh(c, out=bent)
            torch.mul(o, bent, out=h)
            y[t + 1].copy_(h)
            if not keep:
                continue
            if mask is not None:
                a_g.mul_(mask[t])
            torch.addcmul(i, i, i, value=-1, out=a_i).mul_(g)
            torch.addcmul(o, o, o, value=-1, out=a_o).mul_(bent)
            factors[t].copy_(a)
            torch.addcmul(o, h, bent, value=-1, out=loose)
            factor_c[t].copy_(loose)
            torch.sub(1.0, f, out=loose)
            forgotten[t].copy_(loose)
        ctx.save_for_backward(x, y, factors, factor_c, forgotten, w_in, w_rec)
        return y[1:], h, c

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, grad_h: Tensor, grad_c: Tensor) -> tuple[Tensor | None, ...]:
        x, y, factors, factor_c, forgotten, w_in, w_rec = ctx.saved_tensors
        frames, streams, inputs = x.shape
        hidden = y.shape[2]
        back = w_rec.t().contiguous()  # [4H, H]
        d_gates = torch.empty_like(factors)
        dh, dc = grad_h.clone(), grad_c.clone()
        low_h, low_c = y.new_empty(streams, hidden), y.new_empty(streams, hidden)
        wide = y.new_empty(streams, 4 * hidden)
        wide_i, wide_f, wide_g, wide_o = torch.split(wide, hidden, dim=1)
        for t in range(frames - 1, -1, -1):
            dh.add_(grad_y[t])
            dc.addcmul_(dh, factor_c[t])
            low_c.copy_(dc)
            for part in (wide_i, wide_f, wide_g):
                part.copy_(low_c)
            wide_o.copy_(dh)
            torch.mul(wide, factors[t], out=d_gates[t])
            torch.mm(d_gates[t], back, out=low_h)
            dh.copy_(low_h)
            dc.addcmul_(dc, forgotten[t].to(dc.dtype), value=-1)

        flat = d_gates.view(-1, 4 * hidden)
        w_hh_grad = torch.mm(flat.t(), y[:-1].reshape(-1, hidden)).float()
        w_ih_grad = torch.mm(flat.t(), x.reshape(-1, inputs)).float()
        x_grad = torch.mm(flat, w_in).view_as(x) if ctx.needs_input_grad[0] else None
        return x_grad, dh, dc, w_ih_grad, w_hh_grad, flat.sum(0).float(), None


_apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = _LSTMFunction.apply


def run_lstm(
    lstm: nn.LSTM, x: Tensor, h: Tensor, c: Tensor, dropout: float, kind: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """The single layer `lstm` over x [N, F, I] from the states h, c [N, H]; its second bias is taken to be zero.

    -> y [N, F, H] in `kind`, the last states [N, H] in float32. `kind` and `dropout` as in `run_gru`.
    """
    values = x.transpose(0, 1).to(kind).contiguous()
    mask = candidate_mask(values, lstm.hidden_size, dropout)
    w_ih, w_hh, bias, _ = lstm.all_weights[0]
    y, h, c = _apply(values, h, c, w_ih, w_hh, bias, mask)
    return y.transpose(0, 1), h, c
