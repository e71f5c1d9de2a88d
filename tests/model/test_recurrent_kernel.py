"""Recurrent layers in compiled code give the results of PyTorch's, or leave the work to it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from streamtag.model import recurrent_kernel
from streamtag.model.half_weights import half_linear
from streamtag.model.lstm import STEPS
from streamtag.model.recurrent import FrameNetwork
from streamtag.model.recurrent_kernel import MAX_STREAMS, MIN_FRAMES, KernelCache
from streamtag.model.streaming import leaves
from tests.conftest import Need
from tests.model.conftest import stack

CELLS = ("GRU", "GRU, reset before", "LSTM", "BN-LSTM")


@pytest.fixture
def _compiled(need: Need) -> None:
    need("compiler", recurrent_kernel.SUPPORTED, "was installed without a compiler, or its CPU has no AVX2 or F16C")


def halved(cell: str, hidden: int = 32) -> FrameNetwork[Any]:
    """Return layers whose weights fit half precision, as those of a loaded model do."""
    kind, *before = cell.split(", ")
    layers = stack(kind, reset_after=not before, hidden=hidden)
    for weight in layers.parameters():
        weight.copy_(weight.half().float())
    return layers


def both(layers: FrameNetwork[Any], x: Tensor, state: Any) -> tuple[tuple[Tensor, Any], tuple[Tensor, Any]]:
    with torch.inference_mode():
        compiled = layers.packed("float32").step(x, state)
    with torch.enable_grad():  # gradients may be needed
        plain = layers.step(x, state)
    return compiled, plain


def assert_equal(ours: Any, theirs: Any, atol: float = 2e-6) -> None:
    for own, expected in zip(leaves(ours).values(), leaves(theirs).values(), strict=True):
        torch.testing.assert_close(own, expected, atol=atol, rtol=0)


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("hidden", [32, 30])  # 30: does not fill the vectors
@pytest.mark.parametrize("streams", [1, 3, MAX_STREAMS])
@pytest.mark.parametrize("cell", CELLS)
def test_results_are_those_of_pytorch(cell: str, streams: int, hidden: int) -> None:
    layers, x = halved(cell, hidden), torch.randn(streams, 25, 374)
    _, state = layers.step(torch.randn(streams, 7, 374), layers.initial_state(streams))
    (y, after), (expected, expected_after) = both(layers, x, state)
    assert_equal(y, expected)
    assert_equal(after, expected_after)
    assert not torch.equal(y, expected), "other sums"


@pytest.mark.usefixtures("_compiled")
def test_a_normalized_lstm_goes_through_all_its_ages() -> None:
    layers, x = halved("BN-LSTM"), torch.randn(2, STEPS + 9, 374)
    (y, after), (expected, expected_after) = both(layers, x, layers.initial_state(2))
    assert_equal(y, expected)
    assert_equal(after, expected_after)


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("cell", CELLS)
def test_a_stream_has_the_same_bits_in_any_batch(cell: str) -> None:
    layers, x = halved(cell), torch.randn(7, 5, 374)
    x[3] = torch.nan
    with torch.inference_mode():
        packed = layers.packed("float32")
        together, _ = packed.step(x, layers.initial_state(7))
        for n in (0, 2, 4, 6):
            assert torch.equal(packed.step(x[n : n + 1], layers.initial_state(1))[0], together[n : n + 1])
    assert together[3].isnan().all()


@pytest.mark.usefixtures("_compiled")
def test_extreme_gates_saturate() -> None:
    layers, x = halved("GRU"), 1e30 * torch.randn(1, 3, 374)
    (y, after), (expected, _) = both(layers, x, layers.initial_state(1))
    assert_equal(y, expected)
    assert float(after[0, 0].abs().max()) > 0.99


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize("cell", CELLS)
def test_a_session_uses_it_after_the_first_frames(cell: str) -> None:
    layers, x = halved(cell), torch.randn(1, MIN_FRAMES, 374)
    _, (plain, _) = both(layers, x, layers.initial_state(1))
    with torch.inference_mode():
        first, second = (layers.step(x, layers.initial_state(1))[0] for _ in range(2))
        compiled, _ = layers.packed("float32").step(x, layers.initial_state(1))
    assert torch.equal(second, compiled)
    assert not torch.equal(first, compiled)
    assert_equal(first, plain)


@pytest.mark.usefixtures("_compiled")
def test_changed_weights_are_packed_again() -> None:
    layers, x = halved("GRU"), torch.randn(1, MIN_FRAMES, 374)
    with torch.inference_mode():
        before = [layers.step(x, layers.initial_state(1))[0] for _ in range(2)][1]
    next(layers.parameters()).mul_(2.0)
    with torch.inference_mode():
        after, _ = layers.step(x, layers.initial_state(1))
    assert_equal(after, layers.step(x, layers.initial_state(1))[0])
    assert float((after - before).abs().max()) > 1e-3


def find(layers: nn.Module, x: Tensor) -> object:
    with torch.inference_mode():
        return KernelCache(0).find(layers, x, lambda: halved("GRU").packed("float32"))  # type: ignore[arg-type,return-value]


@pytest.mark.usefixtures("_compiled")
def test_many_streams_and_gradients_are_left_to_pytorch() -> None:
    layers, x = halved("GRU"), torch.randn(MAX_STREAMS, 5, 374)
    assert find(layers, x) is not None
    assert find(layers, torch.randn(MAX_STREAMS + 1, 5, 374)) is None
    with torch.enable_grad():
        assert KernelCache(0).find(layers, x, lambda: None) is None
    assert KernelCache(0).find(layers, x, lambda: None) is None


def test_what_half_precision_cannot_hold_is_left_to_pytorch() -> None:
    layers, x = halved("GRU"), torch.randn(1, 5, 374)
    layers.gru.all_weights[0][1][3, 4] = 0.1  # type: ignore[union-attr,index]  # has more digits
    _, (expected, _) = both(layers, x, layers.initial_state(1))
    with torch.inference_mode():
        layers.step(torch.randn(1, MIN_FRAMES, 374), layers.initial_state(1))
        assert_equal(layers.step(x, layers.initial_state(1))[0], expected, atol=1e-6)


def test_layers_with_packed_weights_can_be_copied_and_pickled() -> None:
    layers, x = halved("GRU"), torch.randn(1, MIN_FRAMES, 374)
    with torch.inference_mode():
        layers(x)  # from now on they are packed
        expected = layers(x)
        for twin in (copy.deepcopy(layers), pickle.loads(pickle.dumps(layers))):
            torch.testing.assert_close(twin(x), expected)


@pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="only FBGEMM has this product")
def test_a_single_product_is_in_half_precision_only_if_that_changes_no_weight() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(24, 11), torch.randn(24)
    assert half_linear(weight, bias) is None
    product = half_linear(weight.half().float(), bias)
    assert product is not None
    x = torch.randn(3, 11)
    torch.testing.assert_close(product(x), nn.functional.linear(x, weight.half().float(), bias), atol=2e-6, rtol=0)
