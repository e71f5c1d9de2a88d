"""Our layers against torch.nn.GRU, torch.nn.LSTM and Eq. 9: values, states and all gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trainer.systems.gru import run_gru
from trainer.systems.lstm import run_lstm
from trainer.systems.recurrent import candidate_mask

INPUTS, HIDDEN = 7, 24
Result = list[Tensor]


def gru_layer(kind: torch.dtype, frames: int, dropout: float = 0.0) -> tuple[Result, Result]:
    """[output, last states ..., gradients ...] of torch's layer and of the fast one."""
    torch.manual_seed(3)
    gru = nn.GRU(INPUTS, HIDDEN, batch_first=True)
    x, h = torch.randn(5, frames, INPUTS, requires_grad=True), torch.randn(5, HIDDEN, requires_grad=True)
    y, last = gru(x, h[None])
    own_y, own_h = run_gru(gru, x, h, dropout, kind)
    leaves = [x, h, *gru.parameters()]
    return with_gradients([y, last[0]], leaves), with_gradients([own_y, own_h], leaves)


def gru_with_the_reset_gate_inside(kind: torch.dtype, frames: int, dropout: float = 0.0) -> tuple[Result, Result]:
    """The same of Eq. 9 of the paper, written down, and of the fast layer."""
    torch.manual_seed(3)
    gru = nn.GRU(INPUTS, HIDDEN, batch_first=True)
    x, first = torch.randn(5, frames, INPUTS, requires_grad=True), torch.randn(5, HIDDEN, requires_grad=True)
    (w_r, w_z, w_n), (u_r, u_z, u_n) = (weight.chunk(3) for weight in gru.all_weights[0][:2])
    b_r, b_z, b_n = (gru.all_weights[0][2] + gru.all_weights[0][3]).chunk(3)
    h, outputs = first, []
    for t in range(frames):
        r = torch.sigmoid(x[:, t] @ w_r.t() + h @ u_r.t() + b_r)
        z = torch.sigmoid(x[:, t] @ w_z.t() + h @ u_z.t() + b_z)
        h = z * h + (1 - z) * torch.tanh(x[:, t] @ w_n.t() + (r * h) @ u_n.t() + b_n)
        outputs.append(h)
    own_y, own_h = run_gru(gru, x, first, dropout, kind, reset_after=False)
    leaves = [x, first, *gru.parameters()]
    return with_gradients([torch.stack(outputs, 1), h], leaves), with_gradients([own_y, own_h], leaves)


def lstm_layer(kind: torch.dtype, frames: int, dropout: float = 0.0) -> tuple[Result, Result]:
    torch.manual_seed(3)
    lstm = nn.LSTM(INPUTS, HIDDEN, batch_first=True)
    w_ih, w_hh, bias, second = lstm.all_weights[0]
    nn.init.zeros_(second)
    x = torch.randn(5, frames, INPUTS, requires_grad=True)
    h, c = torch.randn(5, HIDDEN, requires_grad=True), torch.randn(5, HIDDEN, requires_grad=True)
    y, (last_h, last_c) = lstm(x, (h[None], c[None]))
    own_y, own_h, own_c = run_lstm(lstm, x, h, c, dropout, kind)
    leaves = [x, h, c, w_ih, w_hh, bias]
    plain = with_gradients([y, last_h[0], last_c[0]], leaves)
    return plain, with_gradients([own_y, own_h, own_c], leaves)


def with_gradients(outputs: Result, leaves: Result) -> Result:
    torch.manual_seed(4)
    loss = torch.stack([(y.float() * torch.randn(y.shape)).sum() for y in outputs]).sum()
    return [*(y.float() for y in outputs), *torch.autograd.grad(loss, leaves)]


def difference(a: Tensor, b: Tensor) -> float:
    return float(((a - b).norm() / a.norm()).detach())


LAYERS = {"GRU": gru_layer, "GRU, reset before": gru_with_the_reset_gate_inside, "LSTM": lstm_layer}
each = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
Layer = Callable[..., tuple[Result, Result]]


@each
@pytest.mark.parametrize("frames", [1, 2, 11])
def test_equals_the_definition_in_float32(layer: Layer, frames: int) -> None:
    for expected, found in zip(*layer(torch.float32, frames), strict=True):
        assert difference(expected, found) < 2e-6


@each
def test_bfloat16_stays_close(layer: Layer) -> None:
    for expected, found in zip(*layer(torch.bfloat16, 11), strict=True):
        assert difference(expected, found) < 0.03


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradients_by_finite_differences(dropout: float) -> None:
    torch.manual_seed(5)
    gru, lstm = nn.GRU(3, 4, batch_first=True).double(), nn.LSTM(3, 4, batch_first=True).double()
    nn.init.zeros_(lstm.all_weights[0][3])
    x = torch.randn(2, 5, 3, dtype=torch.double, requires_grad=True)
    h, c = (torch.randn(2, 4, dtype=torch.double, requires_grad=True) for _ in range(2))

    def apply_gru(x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(6)  # the same candidates are dropped each time
        return run_gru(gru, x, h, dropout, torch.double)

    def apply_gru_before(x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(6)
        return run_gru(gru, x, h, dropout, torch.double, reset_after=False)

    def apply_lstm(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(6)
        return run_lstm(lstm, x, h, c, dropout, torch.double)

    assert torch.autograd.gradcheck(apply_gru, (x, h))
    assert torch.autograd.gradcheck(apply_gru_before, (x, h))
    assert torch.autograd.gradcheck(apply_lstm, (x, h, c))


def test_recurrent_dropout_forgets_nothing() -> None:
    """With every candidate dropped but the gates as they are, what was remembered only fades by the gates."""
    torch.manual_seed(3)
    gru = nn.GRU(INPUTS, HIDDEN, batch_first=True)
    for weight in gru.parameters():
        nn.init.zeros_(weight)
    gru.all_weights[0][2].data[HIDDEN : 2 * HIDDEN] = 20.0  # z is 1: everything is kept
    h = torch.randn(5, HIDDEN)
    with torch.no_grad():
        _, kept = run_gru(gru, torch.randn(5, 50, INPUTS), h, 0.9, torch.float32)
    torch.testing.assert_close(kept, h, atol=1e-5, rtol=0)


def test_dropped_candidates_keep_the_mean() -> None:
    mask = candidate_mask(torch.zeros(300, 20, 1), 50, 0.25)
    assert mask is not None
    assert abs(float(mask.mean()) - 1.0) < 0.01
    assert abs(float((mask == 0).float().mean()) - 0.25) < 0.01
    assert not torch.equal(mask[0], mask[1]), "drawn anew for each frame"
