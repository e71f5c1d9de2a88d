"""Stacks of recurrent layers with an output layer: one function for training, files and streams.

`forward(x, state)` reads any number of frames and returns the state after them, so a step is a forward of one frame.
Streams are axis 0 of every tensor in the state, as the functions of `streamtag.model` expect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class RecurrentState:
    """`cells` [N, layers, S, H], with S = 1 (hidden state) for GRUs and 2 (hidden state, cell) for LSTMs.

    `age` [N] is the number of frames since each stream began.
    """

    cells: Tensor
    age: Tensor


@dataclass(frozen=True)
class Dropout:
    """The shares dropped during training.

    `between`: of the values from layer to layer, with one mask per sequence held over time (of single values before the
    output layer, and after each pooling of a convolution). `recurrent`: of the candidates that update a state, drawn
    anew for each frame; the state itself is never dropped (Semeniuta et al. 2016, "Recurrent dropout without memory
    loss").
    """

    between: float = 0.0
    recurrent: float = 0.0


class Recurrent(nn.Module):
    """Stacked layers, x [N, F, I] -> log-odds [N, F, C].

    A layer is called with x [N, F, I], its cells [N, S, H], the streams' ages [N] and the recurrent dropout, and
    returns y [N, F, H] and its cells after the last frame.
    """

    def __init__(self, layers: Sequence[nn.Module], cells: int, hidden: int, outputs: int, dropout: Dropout) -> None:
        """`cells`: the number of states of a layer, each of `hidden` units."""
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(hidden, outputs)
        self.cells, self.hidden, self.dropout = cells, hidden, dropout

    def initial_state(self, streams: int) -> RecurrentState:
        weight = self.head.weight
        cells = weight.new_zeros(streams, len(self.layers), self.cells, self.hidden)
        return RecurrentState(cells, torch.zeros(streams, dtype=torch.int64, device=weight.device))

    def forward(self, x: Tensor, state: RecurrentState) -> tuple[Tensor, RecurrentState]:
        dropout = self.dropout if self.training else Dropout()
        x, cells = self.run_layers(x, state, dropout)
        x = nn.functional.dropout(x, dropout.between, training=dropout.between > 0)
        with torch.autocast(x.device.type, enabled=False):  # log-odds in half precision would tie neighbours
            logits = self.head(x.float())
        return logits, RecurrentState(cells, state.age + x.shape[1])

    def run_layers(self, x: Tensor, state: RecurrentState, dropout: Dropout) -> tuple[Tensor, Tensor]:
        """Return y [N, F, H] of the last layer, and the cells [N, layers, S, H] after the last frame."""
        last = []
        for number, layer in enumerate(self.layers):
            if number:
                x = _sequence_dropout(x, dropout.between)
            x, cells = layer(x, state.cells[:, number], state.age, dropout.recurrent)
            last.append(cells)
        return x, torch.stack(last, dim=1)


def _sequence_dropout(x: Tensor, share: float) -> Tensor:
    """Drop units with one mask per clip, held over time (Gal and Ghahramani 2016)."""
    if not share:
        return x
    return x * kept_mask((len(x), 1, x.shape[2]), share, x.device).to(x.dtype)


def without_autocast(x: Tensor) -> torch.autocast:
    """Return a context in which cuDNN's recurrent layers compute in float32.

    Under autocast PyTorch runs them in float16, whatever autocast's type is (aten/src/ATen/cudnn/AutocastRNN.cpp), and
    gradients of a millionth vanish in it. In float32 cuDNN rounds products to TF32 if `train.device` allows it: more
    precise than bfloat16, and as fast, since a step over a batch waits for memory.
    """
    return torch.autocast(x.device.type, enabled=False)


def product_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of matrix products with `x`: autocast's if it is enabled."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def initialize(weight: Tensor, recurrent: bool, gates: int) -> None:
    """Initialize recurrent weights orthogonally and input weights after Xavier, gate by gate."""
    for gate in weight.data.chunk(gates):
        if recurrent:
            nn.init.orthogonal_(gate)
        else:
            nn.init.xavier_uniform_(gate)


def candidate_mask(x: Tensor, hidden: int, dropout: float) -> Tensor | None:
    """Return a mask [F, N, H] of the candidates that update the state, for x [F, N, I], scaled to keep their mean."""
    if not dropout:
        return None
    return kept_mask((*x.shape[:2], hidden), dropout, x.device).to(x.dtype)


def kept_mask(size: Sequence[int], dropout: float, device: torch.device) -> Tensor:
    """Return zeros for a random share of a tensor, and for the others the factor that keeps the mean."""
    return (torch.rand(*size, device=device) >= dropout) / (1.0 - dropout)
