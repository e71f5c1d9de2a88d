"""Weights at the start of a run: TensorFlow's of 2017, or ours."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.systems import named
from trainer.systems.gru import GRULayer
from trainer.systems.lstm import LSTMLayer
from trainer.systems.recurrent import Recurrent
from trainer.train.initialization import initialize

SHARES = np.array([0.5, 0.02, 0.1], dtype=np.float32)
INPUTS, HIDDEN = 374, 64


def network(name: str, kind: str) -> Recurrent:
    torch.manual_seed(0)
    made = named(name).build(INPUTS, len(SHARES))
    initialize(made, kind, SHARES)
    assert isinstance(made, Recurrent)
    return made.requires_grad_(False)


def check_uniform(limit: float, *parts: Tensor) -> None:
    """The values fill the range from -limit to limit evenly."""
    for part in parts:
        assert float(part.abs().max()) == pytest.approx(limit, rel=0.01)
        assert float(part.std()) == pytest.approx(limit / math.sqrt(3), rel=0.05)


def test_a_gru_begins_as_grucell_did() -> None:
    for number, layer in enumerate(network("Scat-2L-64H-GRU", "tensorflow").layers):
        assert isinstance(layer, GRULayer)
        inputs = HIDDEN if number else INPUTS
        w_ih, w_hh, b_ih, b_hh = layer.gru.all_weights[0]
        gates = 2 * HIDDEN
        check_uniform(math.sqrt(6 / (inputs + HIDDEN + gates)), w_ih[:gates], w_hh[:gates])
        check_uniform(math.sqrt(6 / (inputs + HIDDEN + HIDDEN)), w_ih[gates:], w_hh[gates:])
        assert (b_ih[:gates] == 1).all()
        assert not b_ih[gates:].any()
        assert not b_hh.any()


def test_an_lstm_begins_as_basiclstmcell_did() -> None:
    layer = network("Scat-1L-64H-LSTM", "tensorflow").layers[0]
    assert isinstance(layer, LSTMLayer)
    w_ih, w_hh, b_ih, b_hh = layer.lstm.all_weights[0]
    check_uniform(math.sqrt(6 / (INPUTS + HIDDEN + 4 * HIDDEN)), w_ih, w_hh)
    assert b_ih.view(4, HIDDEN).mean(1).tolist() == [0, 1, 0, 0]
    assert not b_hh.any()


@pytest.mark.parametrize("name", ["Scat-1L-64H-GRU", "Scat-1L-64H-BN-LSTM"])
def test_the_output_layer_knows_nothing_in_tensorflow_and_the_shares_in_ours(name: str) -> None:
    head = network(name, "tensorflow").head
    check_uniform(math.sqrt(6 / (HIDDEN + 3)), head.weight)
    assert not head.bias.any()
    head = network(name, "ours").head
    torch.testing.assert_close(torch.sigmoid(head.bias), torch.from_numpy(SHARES))
    assert float(head.weight.abs().max()) < 0.1 / math.sqrt(HIDDEN) + 1e-6


def test_a_convolution_begins_as_in_tensorflow() -> None:
    torch.manual_seed(0)
    made = named("Scat-4L-CNN").build(INPUTS, len(SHARES)).requires_grad_(False)
    initialize(made, "tensorflow", SHARES)
    first = next(module for module in made.modules() if isinstance(module, torch.nn.Conv2d))
    check_uniform(math.sqrt(6 / (9 + 9 * 128)), first.weight)
    assert first.bias is not None
    assert not first.bias.any()
