"""The weights that a run begins with.

`ours`: recurrent weights orthogonal, others after Xavier, gate by gate, as the layers set them themselves; the output
layer's weights small and its biases at the tags' shares.

`tensorflow`: the defaults of TensorFlow 1.x in 2017, which the paper used. Every kernel is drawn from Glorot's uniform
distribution with the sizes of the whole kernel: that of the input and the state together for GRUCell (one for both
gates, one for the candidate) and BasicLSTMCell (one for all gates). GRUCell's gates begin with a bias of 1, so does
BasicLSTMCell's forget gate, everything else with 0. BN-LSTM, which TensorFlow lacked, keeps ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.data.manifest import Array
from trainer.systems.gru import GRULayer
from trainer.systems.lstm import LSTMLayer


@torch.no_grad()
def initialize(network: nn.Module, kind: str, shares: Array) -> None:
    """Set the weights of a newly built network. kind: one of INITIALIZATIONS. shares [C]: the targets' means."""
    head = network.head
    assert isinstance(head, nn.Linear)
    if kind == "ours":
        head.bias.copy_(torch.logit(torch.from_numpy(shares).clamp(1e-3, 1 - 1e-3)))
        head.weight.mul_(0.1)
        return
    for module in network.modules():
        if isinstance(module, GRULayer):
            _initialize_gru(module.gru)
        elif isinstance(module, LSTMLayer):
            _initialize_lstm(module.lstm)
        elif isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def _initialize_gru(gru: nn.GRU) -> None:
    w_ih, w_hh, bias, _ = gru.all_weights[0]  # torch's order of the rows: reset, update, candidate
    gates = 2 * gru.hidden_size
    _glorot([w_ih[:gates], w_hh[:gates]])
    _glorot([w_ih[gates:], w_hh[gates:]])
    bias[:gates] = 1.0
    bias[gates:] = 0.0


def _initialize_lstm(lstm: nn.LSTM) -> None:
    w_ih, w_hh, bias, _ = lstm.all_weights[0]  # input, forget, candidate, output
    _glorot([w_ih, w_hh])
    bias.zero_()
    bias[lstm.hidden_size : 2 * lstm.hidden_size] = 1.0


def _glorot(parts: Sequence[Tensor]) -> None:
    """Draw the parts [outputs, inputs] of one kernel, which lie beside each other."""
    limit = math.sqrt(6.0 / (len(parts[0]) + sum(part.shape[1] for part in parts)))
    for part in parts:
        part.uniform_(-limit, limit)
