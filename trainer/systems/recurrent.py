"""Stacks of recurrent layers with a sigmoid output layer: one function that trains, tags files and streams.

`forward(x, memory)` takes any number of frames and gives the memory after them, so a step is a forward of one frame.
The memory has streams as axis 0 of every tensor: `streamtag.model.choose` and `take` work on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Memory:
    """cells [N, layers, S, H]: S is 1 (hidden state) for GRUs, 2 (hidden state, cell) for LSTMs. heard [N]: frames
    since the stream began."""

    cells: Tensor
    heard: Tensor


@dataclass(frozen=True)
class Dropout:
    """Shares that are dropped while training.

    between: of the values that go from layer to layer, one mask a sequence held over time (single values before the
    output layer, and after each pooling of a convolution). recurrent: of the candidates that update a state, drawn
    anew each frame; what is remembered is never dropped (Semeniuta et al. 2016, "Recurrent dropout without memory
    loss").
    """

    between: float = 0.0
    recurrent: float = 0.0


class Recurrent(nn.Module):
    """x [N, F, I] -> log-odds [N, F, C], and the memory after the last frame.

    A layer is called with x [N, F, I], its cells [N, S, H], the frames heard [N] and the recurrent dropout; it gives
    y [N, F, H] and its cells after the last frame.
    """

    def __init__(self, layers: Sequence[nn.Module], cells: int, hidden: int, outputs: int, dropout: Dropout) -> None:
        """cells: how many a layer has, all of `hidden` units."""
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(hidden, outputs)
        self.cells, self.hidden, self.dropout = cells, hidden, dropout

    def initial_state(self, streams: int) -> Memory:
        weight = self.head.weight
        cells = weight.new_zeros(streams, len(self.layers), self.cells, self.hidden)
        return Memory(cells, torch.zeros(streams, dtype=torch.int64, device=weight.device))

    def forward(self, x: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        between, recurrent = (self.dropout.between, self.dropout.recurrent) if self.training else (0.0, 0.0)
        last = []
        for number, layer in enumerate(self.layers):
            if number:
                x = _held_dropout(x, between)
            x, cells = layer(x, memory.cells[:, number], memory.heard, recurrent)
            last.append(cells)
        x = nn.functional.dropout(x, between, training=between > 0)
        with torch.autocast(x.device.type, enabled=False):  # log-odds in half precision would tie neighbours
            logits = self.head(x.float())
        return logits, Memory(torch.stack(last, dim=1), memory.heard + x.shape[1])


def _held_dropout(x: Tensor, share: float) -> Tensor:
    """One mask a clip and unit, held over time (Gal and Ghahramani 2016)."""
    if not share:
        return x
    kept = torch.rand(len(x), 1, x.shape[2], device=x.device) >= share
    return x * (kept / (1.0 - share)).to(x.dtype)


def precision(x: Tensor) -> torch.dtype:
    """Of matrix products where `x` is: autocast's, if it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def start_weights(weight: Tensor, recurrent: bool, gates: int) -> None:
    """Orthogonal recurrent and Xavier input weights, gate by gate."""
    for gate in weight.data.chunk(gates):
        if recurrent:
            nn.init.orthogonal_(gate)
        else:
            nn.init.xavier_uniform_(gate)
