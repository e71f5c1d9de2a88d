"""All layers at once against layer by layer: values, states and gradients. `tests/device` does the same on a GPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.model.fake_capture import FakeCapture
from trainer.systems import Dropout, RecurrentState, named
from trainer.systems.wavefront import GRUStack, TorchCells, make_cells

OUTPUTS = 5


def stack(layers: int, inputs: int, hidden: int, dropout: float = 0.0) -> GRUStack:
    torch.manual_seed(layers)
    network = named(f"Scat-{layers}L-{hidden}H-GRU").build(inputs, OUTPUTS, Dropout(dropout))
    assert isinstance(network, GRUStack)
    with torch.no_grad():
        for name, bias in network.named_parameters():
            if "bias" in name:
                bias.uniform_(-0.5, 0.5)  # b_hh as well, which is zero in a new network
    return network


def captured(network: GRUStack, capture: FakeCapture) -> GRUStack:
    network.capture = capture
    return network


def random_state(network: GRUStack, streams: int) -> RecurrentState:
    state = network.initial_state(streams)
    return RecurrentState(torch.randn_like(state.cells), state.age)


def results(network: GRUStack, x: Tensor, state: RecurrentState) -> list[Tensor]:
    """Return the output, the last state and the gradients of the trained weights."""
    network.zero_grad()
    y, last = network(x, state)
    torch.autograd.backward((y * torch.linspace(-1, 2, y.numel()).view(y.shape)).sum())
    return [y.detach(), last.cells, *(weight.grad for weight in network.parameters() if weight.grad is not None)]


@pytest.mark.parametrize(
    ("layers", "frames", "streams", "inputs", "hidden"),
    [(5, 12, 3, 7, 6), (5, 2, 3, 7, 6), (1, 4, 2, 9, 8), (3, 1, 2, 5, 8), (2, 9, 4, 16, 8)],
)
def test_all_layers_at_once_agree_with_one_after_the_other(
    layers: int, frames: int, streams: int, inputs: int, hidden: int
) -> None:
    network, capture = stack(layers, inputs, hidden), FakeCapture()
    x, other = torch.randn(2, streams, frames, inputs)
    state = random_state(network, streams)
    expected = results(network, x, state)
    assert len(expected) == 2 + 3 * layers + 2, "the output layer's, and all of a layer but the second bias"
    found = results(captured(network, capture), x, state)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert capture.captures == capture.replays == 2, "forward and backward"
    different = results(network, other, state)
    for a, b in zip(different[:-1], expected[:-1], strict=True):  # but for the gradient of the output's bias
        assert not torch.allclose(a, b), "the control: another input has others"


def test_the_weights_of_each_step_are_used() -> None:
    network, x = captured(stack(2, 4, 6), FakeCapture()), torch.randn(3, 5, 4)
    results(network, x, network.initial_state(3))
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.5)
    found = results(network, x, network.initial_state(3))
    network.capture = None
    for a, b in zip(found, results(network, x, network.initial_state(3)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_another_shape_or_other_weights_are_captured_anew() -> None:
    capture = FakeCapture()
    network = captured(stack(2, 4, 6), capture)
    for streams, frames, captures in ((3, 5, 2), (3, 5, 2), (4, 5, 4), (4, 6, 6)):
        results(network, torch.randn(streams, frames, 4), network.initial_state(streams))
        assert capture.captures == captures
    network.load_state_dict({name: weight.clone() for name, weight in network.state_dict().items()}, assign=True)
    results(network, torch.randn(4, 6, 4), network.initial_state(4))
    assert capture.captures == 8


def test_only_training_is_captured() -> None:
    capture = FakeCapture()
    network = captured(stack(2, 4, 6), capture)
    x, state = torch.randn(3, 5, 4), network.initial_state(3)
    with torch.no_grad():
        expected, _ = network(x, state)
    network.eval()
    torch.testing.assert_close(network(x, state)[0], expected)
    network.train().dropout = Dropout(recurrent=0.5)
    network(x, state)
    assert capture.captures == 0


def test_dropout_between_the_layers_is_held_over_time_and_keeps_the_mean() -> None:
    """Without recurrent weights and with constant inputs, the second layer's output tends to a constant."""
    network, x = captured(stack(2, 4, 64, dropout=0.5), FakeCapture()), torch.ones(2, 40, 4)
    with torch.no_grad():
        for layer in network.layers:
            layer.gru.weight_hh_l0.zero_()  # type: ignore[operator, union-attr]

    def last_frames(share: float) -> Tensor:
        return network.run_layers(x, network.initial_state(2), Dropout(share))[0][:, -2:].detach()

    y, other = last_frames(0.5), last_frames(0.5)
    assert float((y[:, 1] - y[:, 0]).abs().max()) < 1e-3
    assert float((y - other).abs().max()) > 0.1, "each step draws its own"
    assert float((y[0] - y[1]).abs().max()) > 0.1, "and each sequence"
    mean = torch.stack([last_frames(0.1) for _ in range(100)]).mean(0)
    assert float((mean - last_frames(0.0)).abs().mean()) < 0.05 < float((y - last_frames(0.0)).abs().mean())


def test_a_backward_pass_after_another_forward_pass_is_refused() -> None:
    network, x = captured(stack(2, 4, 6), FakeCapture()), torch.randn(3, 5, 4)
    first, _ = network(x, network.initial_state(3))
    network(x, network.initial_state(3))
    with pytest.raises(RuntimeError, match="another forward pass has overwritten"):
        torch.autograd.backward(first.sum())


def test_without_a_gpu_or_a_compiler_pytorch_computes_the_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_cells(torch.device("cpu")), TorchCells)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    assert isinstance(make_cells(torch.device("cuda", 0)), TorchCells)
