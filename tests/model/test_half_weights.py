"""Weights that are read in half precision give the results of nn.GRU, or leave the work to it."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from streamtag.model import NetworkSpec, StackedGRU
from streamtag.model.half_weights import MAX_STREAMS, MIN_FRAMES, HalfWeights, half_linear
from tests.model.conftest import stack

X86 = "fbgemm" in torch.backends.quantized.supported_engines


@pytest.fixture
def gru() -> StackedGRU:
    """Return a GRU whose weights fit half precision, as those of a loaded model do."""
    torch.manual_seed(0)
    gru = StackedGRU(NetworkSpec(inputs=11, hidden=32, layers=3, outputs=2)).requires_grad_(False)
    for weight in gru.parameters():
        weight.copy_(weight.half().float())
    return gru


def run(weights: HalfWeights, gru: StackedGRU, x: Tensor) -> tuple[Tensor, ...] | None:
    with torch.inference_mode():
        return weights.run(gru.gru, x, torch.zeros(3, x.shape[0], 32))


@pytest.mark.skipif(not X86, reason="only FBGEMM has these products")
@pytest.mark.parametrize("streams", [1, 3, MAX_STREAMS])
def test_results_equal_nn_lstm(streams: int) -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(11, 32, 3, batch_first=True).requires_grad_(False)
    for weight in lstm.parameters():
        weight.copy_(weight.half().float())
    x, hidden, cell = torch.randn(streams, 25, 11), torch.randn(3, streams, 32), torch.randn(3, streams, 32)
    with torch.inference_mode():
        found = HalfWeights(0).run(lstm, x, hidden, cell)
        y, state = lstm(x, (hidden, cell))
    assert found is not None
    for own, expected in zip(found, (y, *state), strict=True):
        torch.testing.assert_close(own, expected, atol=2e-6, rtol=0)


@pytest.mark.skipif(not X86, reason="only FBGEMM has these products")
@pytest.mark.parametrize("streams", [1, 3, MAX_STREAMS])
def test_results_equal_nn_gru(gru: StackedGRU, streams: int) -> None:
    x = torch.randn(streams, 25, 11)
    found = run(HalfWeights(0), gru, x)
    assert found is not None
    for own, expected in zip(found, gru.gru(x), strict=True):
        torch.testing.assert_close(own, expected, atol=2e-6, rtol=0)


@pytest.mark.skipif(not X86, reason="only FBGEMM has these products")
def test_the_reset_gate_inside_the_product_costs_no_precision() -> None:
    gru = stack("GRU", reset_after=False)
    for weight in gru.parameters():
        weight.copy_(weight.half().float())
    x, state = torch.randn(2, MIN_FRAMES, 374), torch.randn(2, 2, 32)
    exact, _ = gru.step(x, state)  # outside of inference mode gradients may be needed
    with torch.inference_mode():
        found, again = (
            [each.step(x, state)[0] for _ in range(2)][1]  # packed for the second
            for each in (gru, pickle.loads(pickle.dumps(gru)))
        )
    torch.testing.assert_close(found, exact, atol=2e-6, rtol=0)
    assert not torch.equal(found, exact), "other products"
    assert torch.equal(again, found)


@pytest.mark.skipif(not X86, reason="only FBGEMM has these products")
def test_changed_weights_are_packed_again(gru: StackedGRU) -> None:
    weights, x = HalfWeights(0), torch.randn(1, 5, 11)
    before = run(weights, gru, x)
    gru.gru.all_weights[1][1].mul_(2.0)
    after = run(weights, gru, x)
    assert before is not None
    assert after is not None
    torch.testing.assert_close(after[0], gru.gru(x)[0], atol=2e-6, rtol=0)
    assert float((after[0] - before[0]).abs().max()) > 1e-3


def test_the_first_frames_are_left_to_nn_gru(gru: StackedGRU) -> None:
    weights, x = HalfWeights(7), torch.randn(1, 5, 11)
    assert [run(weights, gru, x) is None for _ in range(4)] == [True, True, not X86, not X86]


def test_what_half_precision_cannot_hold_is_left_to_nn_gru(gru: StackedGRU) -> None:
    gru.gru.all_weights[0][1][3, 4] = 0.1  # has more digits
    assert run(HalfWeights(0), gru, torch.randn(1, 5, 11)) is None


def test_many_streams_and_gradients_are_left_to_nn_gru(gru: StackedGRU) -> None:
    assert run(HalfWeights(0), gru, torch.randn(MAX_STREAMS + 1, 5, 11)) is None
    assert HalfWeights(0).run(gru.gru, torch.randn(1, 5, 11), torch.zeros(3, 1, 32)) is None


def test_an_engine_without_half_precision_leaves_the_work_to_nn_gru(gru: StackedGRU) -> None:
    if "qnnpack" not in torch.backends.quantized.supported_engines:
        pytest.skip("no other engine here")
    engine = torch.backends.quantized.engine
    torch.backends.quantized.engine = "qnnpack"
    try:
        assert run(HalfWeights(0), gru, torch.randn(1, 5, 11)) is None
    finally:
        torch.backends.quantized.engine = engine


def test_a_network_with_packed_weights_can_be_copied_and_pickled(gru: StackedGRU) -> None:
    x = torch.randn(1, MIN_FRAMES, 11)
    with torch.inference_mode():
        gru(x)  # from now on they are packed
        expected = gru(x)
        for twin in (copy.deepcopy(gru), pickle.loads(pickle.dumps(gru))):
            torch.testing.assert_close(twin(x), expected)


@pytest.mark.skipif(not X86, reason="only FBGEMM has these products")
def test_a_single_product_is_in_half_precision_only_if_that_changes_no_weight() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(24, 11), torch.randn(24)
    assert half_linear(weight, bias) is None
    product = half_linear(weight.half().float(), bias)
    assert product is not None
    x = torch.randn(3, 11)
    torch.testing.assert_close(product(x), nn.functional.linear(x, weight.half().float(), bias), atol=2e-6, rtol=0)
