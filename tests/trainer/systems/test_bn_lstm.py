"""Batch normalisation inside an LSTM: its statistics by frame, in training and after."""

from __future__ import annotations

import torch

from streamtag.model.lstm import STEPS
from trainer.systems.bn_lstm import EPSILON, MOMENTUM, BNLSTMLayer, StepNorm


def test_a_batch_is_standardised_by_its_own_statistics_frame_by_frame() -> None:
    torch.manual_seed(0)
    norm = StepNorm(3, shifted=False).train()
    x = torch.randn(64, 5, 3) * torch.arange(1, 6)[None, :, None] + torch.arange(5)[None, :, None]
    y = norm(x, torch.arange(5).expand(64, 5), 0) / norm.scale
    torch.testing.assert_close(y.mean(0), torch.zeros(5, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(0, unbiased=False), torch.ones(5, 3), atol=1e-2, rtol=0)


def test_running_statistics_belong_to_their_frame() -> None:
    norm = StepNorm(2, shifted=False).train()
    x = torch.randn(32, 3, 2) + torch.tensor([0.0, 10.0, 20.0])[None, :, None]
    for _ in range(200):
        norm(x, torch.arange(4, 7).expand(32, 3), 4)
    torch.testing.assert_close(norm.mean[4:7], x.mean(0), atol=1e-3, rtol=0)
    assert (norm.mean[:4] == 0).all()
    assert (norm.mean[7:] == 0).all()
    norm.eval()
    one = norm(x[:1, 1:2], torch.tensor([[5]]), 0)  # a single stream, as later
    expected = (x[:1, 1:2] - x[:, 1].mean(0)) * torch.rsqrt(x[:, 1].var(0, unbiased=False) + EPSILON) * norm.scale
    torch.testing.assert_close(one, expected, atol=1e-3, rtol=0)


def test_all_later_frames_share_the_last_statistics() -> None:
    norm = StepNorm(1, shifted=False).train()
    x = torch.ones(8, 6, 1) * torch.tensor([1.0, 2.0, 4.0, 4.0, 4.0, 4.0])[None, :, None]
    norm(x, torch.arange(STEPS - 3, STEPS + 3).expand(8, 6), STEPS - 3)
    torch.testing.assert_close(norm.mean[-3:, 0], MOMENTUM * torch.tensor([1.0, 2.0, 4.0]))
    norm.eval()
    late = norm(torch.ones(1, 2, 1), torch.tensor([[STEPS + 5, 10**6]]), 0)
    assert torch.equal(late[0, 0], late[0, 1])


def test_training_uses_the_statistics_of_the_batch_and_inference_the_running_ones() -> None:
    torch.manual_seed(0)
    layer = BNLSTMLayer(4, 6)
    x, cells, ages = torch.randn(16, 8, 4), torch.zeros(16, 2, 6), torch.zeros(16, dtype=torch.int64)
    trained, _ = layer.train()(x, cells, ages, 0.0)
    used, _ = layer.eval()(x, cells, ages, 0.0)
    assert not torch.allclose(trained, used, atol=5e-2)
    layer.train()
    with torch.no_grad():
        for _ in range(200):
            trained, _ = layer(x, cells, ages, 0.0)
    used, _ = layer.eval()(x, cells, ages, 0.0)
    torch.testing.assert_close(trained, used, atol=5e-3, rtol=0)


def plain_layer(layer: BNLSTMLayer, x: torch.Tensor, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a layer in training computes, by torch's batch normalization and recorded operations."""

    def norm(values: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
        return torch.nn.functional.batch_norm(values, None, None, scale, shift, True, 0.0, EPSILON)

    h, c, outputs = cells[:, 0], cells[:, 1], []
    for frame in x.unbind(1):
        gates = norm(frame @ layer.weight_ih.t(), layer.norm_x.scale, None) + layer.bias
        gates = gates + norm(h @ layer.weight_hh.t(), layer.norm_h.scale, None)
        i, f, g, o = gates.chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * norm(c, layer.norm_c.scale, layer.norm_c.shift).tanh()
        outputs.append(h)
    return torch.stack(outputs, dim=1), torch.stack([h, c], dim=1)


def test_training_equals_recorded_operations_with_their_gradients() -> None:
    torch.manual_seed(0)
    layer = BNLSTMLayer(4, 6).train()
    ages, x, cells = torch.zeros(16, dtype=torch.int64), torch.randn(16, 8, 4), torch.randn(16, 2, 6)
    weight, last = torch.randn(16, 8, 6), torch.randn(16, 2, 6)
    results = []
    for run in (lambda *inputs: layer(*inputs, ages, 0.0), lambda *inputs: plain_layer(layer, *inputs)):
        inputs = x.clone().requires_grad_(), cells.clone().requires_grad_()
        layer.zero_grad()
        y, state = run(*inputs)
        ((y * weight).sum() + (state * last).sum()).backward()
        gradients = [weight.grad.clone() for weight in layer.parameters() if weight.grad is not None]
        results.append([y, state, *(each.grad for each in inputs), *gradients])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)
