"""LSTMs with the statistics of batch normalization; test_recurrent compares all cells frame by frame."""

from __future__ import annotations

import torch

from streamtag.model.lstm import STEPS, BNLSTMState, StackedBNLSTM, StackedLSTM
from streamtag.model.streaming import gather_rows
from streamtag.spec import NetworkSpec
from tests.model.conftest import stack


def test_without_normalization_it_is_an_lstm() -> None:
    spec = NetworkSpec(inputs=7, hidden=8, layers=2, outputs=2)
    normalized, plain = StackedBNLSTM(spec).requires_grad_(False), StackedLSTM(spec).requires_grad_(False)
    for layer, (w_ih, w_hh, b_ih, b_hh) in zip(normalized.layers, plain.lstm.all_weights, strict=True):
        layer.weight_ih.copy_(w_ih)
        layer.weight_hh.copy_(w_hh)
        layer.offset.copy_((b_ih + b_hh).expand(STEPS, -1))
        layer.offset_c.zero_()
        for gain in (layer.gain_x, layer.gain_h, layer.gain_c):
            gain.fill_(1.0)
    x = torch.randn(3, 130, 7)
    torch.testing.assert_close(normalized(x), plain(x), atol=1e-5, rtol=0)
    normalized.layers[1].gain_h[60:] = 1.5
    different = (normalized(x) - plain(x)).abs().amax(dim=(0, 2)) > 1e-4
    assert not different[:60].any()
    assert different[60:].all()


def test_the_last_statistics_serve_for_all_later_frames() -> None:
    network = stack("BN-LSTM")
    _, state = network.step(torch.randn(2, STEPS + 20, 374), network.initial_state(2))
    assert state.age.tolist() == [STEPS - 1] * 2
    x = torch.randn(2, 1, 374)
    y, _ = network.step(x, state)
    assert isinstance(network, StackedBNLSTM)
    damaged = BNLSTMState(state.cells, torch.tensor([10**9, -5]))
    found, _ = network.step(x, damaged)
    torch.testing.assert_close(found[0], y[0])
    first, _ = network.step(
        x[1:], BNLSTMState(gather_rows(state, torch.tensor([1])).cells, torch.zeros(1, dtype=torch.int64))
    )
    torch.testing.assert_close(found[1], first[0])
    assert (first[0] - y[1]).abs().max() > 1e-3
