"""The fast stack against torch.nn.GRU: values, states and all gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainer import fast_gru


def stack(inputs: int, hidden: int, layers: int) -> nn.GRU:
    torch.manual_seed(3)
    return nn.GRU(inputs, hidden, layers, batch_first=True)


def gradients(gru: nn.GRU, x: Tensor, state: Tensor, y: Tensor, last: Tensor) -> list[Tensor]:
    torch.manual_seed(4)
    loss = (y.float() * torch.randn(y.shape)).sum() + (last * torch.randn(last.shape)).sum()
    return list(torch.autograd.grad(loss, [x, state, *gru.parameters()]))


def both(kind: torch.dtype, frames: int = 11) -> tuple[list[Tensor], list[Tensor]]:
    """[output, last state, gradients ...] of nn.GRU and of the fast stack."""
    gru = stack(7, 24, 3)
    x, state = torch.randn(5, frames, 7, requires_grad=True), torch.randn(5, 3, 24, requires_grad=True)
    y, last = gru(x, state.transpose(0, 1).contiguous())
    last = last.transpose(0, 1)
    fast_y, fast_last = fast_gru.run(gru, x, state, 0.0, kind)
    return (
        [y, last, *gradients(gru, x, state, y, last)],
        [fast_y.float(), fast_last, *gradients(gru, x, state, fast_y, fast_last)],
    )


def difference(a: Tensor, b: Tensor) -> float:
    return float(((a - b).norm() / a.norm()).detach())


@pytest.mark.parametrize("frames", [1, 2, 11])
def test_equals_torch_in_float32(frames: int) -> None:
    for expected, found in zip(*both(torch.float32, frames), strict=True):
        assert difference(expected, found) < 2e-6


def test_bfloat16_stays_close() -> None:
    for expected, found in zip(*both(torch.bfloat16), strict=True):
        assert difference(expected, found) < 0.03


def test_comparison_notices_a_changed_weight() -> None:
    gru = stack(7, 24, 1)
    x, state = torch.randn(5, 11, 7), torch.zeros(5, 1, 24)
    y, _ = gru(x)
    dict(gru.named_parameters())["bias_hh_l0"].data[-1] += 0.1  # the bias inside the reset gate's product
    found, _ = fast_gru.run(gru, x, state, 0.0, torch.float32)
    assert difference(y, found) > 1e-3


def test_gradients_by_finite_differences() -> None:
    gru = stack(3, 4, 1).double()
    x, state = torch.randn(2, 5, 3, dtype=torch.double), torch.randn(2, 1, 4, dtype=torch.double)
    x.requires_grad_()
    state.requires_grad_()

    def run(x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return fast_gru.run(gru, x, state, 0.0, torch.double)

    assert torch.autograd.gradcheck(run, (x, state))


def test_state_carries_on() -> None:
    gru = stack(7, 24, 2)
    x, state = torch.randn(3, 12, 7), torch.zeros(3, 2, 24)
    with torch.no_grad():
        whole, _ = fast_gru.run(gru, x, state, 0.0, torch.float32)
        first, state = fast_gru.run(gru, x[:, :5], state, 0.0, torch.float32)
        second, _ = fast_gru.run(gru, x[:, 5:], state, 0.0, torch.float32)
        forgetful, _ = fast_gru.run(gru, x[:, 5:], torch.zeros(3, 2, 24), 0.0, torch.float32)
    assert difference(whole, torch.cat([first, second], 1)) < 1e-6
    assert difference(whole, torch.cat([first, forgetful], 1)) > 1e-2


def test_dropout_holds_its_mask_and_keeps_the_mean() -> None:
    gru = stack(7, 24, 2)
    x, state = torch.randn(400, 3, 7), torch.zeros(400, 2, 24)
    with torch.no_grad():
        plain, _ = fast_gru.run(gru, x, state, 0.0, torch.float32)
        torch.manual_seed(0)
        dropped, _ = fast_gru.run(gru, x, state, 0.5, torch.float32)
    assert difference(plain, dropped) > 0.05
    assert abs(float((plain - dropped).mean())) < 0.02
