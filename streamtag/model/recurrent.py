"""The stacked GRU, frame by frame or over a whole sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamtag.spec import NetworkSpec


class StackedGRU(nn.Module):
    """x [N, F, inputs] -> [N, F, hidden]. The state is [N, layers, hidden]: streams first, as everywhere.

    Over many frames it goes layer by layer, so each layer's input weights are read once for all of them.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.gru = nn.GRU(spec.inputs, spec.hidden, spec.layers, batch_first=True)

    def initial_state(self, streams: int) -> Tensor:
        weight = next(self.gru.parameters())
        return weight.new_zeros(streams, self.spec.layers, self.spec.hidden)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, F, inputs] for any F >= 0 -> y [N, F, hidden], new state."""
        if 0 in x.shape[:2]:
            return x.new_empty(*x.shape[:2], self.spec.hidden), state
        y, hidden = self.gru(x, state.transpose(0, 1).contiguous())
        return y, hidden.transpose(0, 1).contiguous()

    def frame(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One frame x [N, inputs] -> y [N, hidden], new state: as `step`, but of single cells, which unlike cuDNN's
        GRU can be recorded, and are in full single precision on every device."""
        hidden = []
        for layer, weights in enumerate(self.gru.all_weights):
            x = torch.gru_cell(x, state[:, layer], *weights)
            hidden.append(x)
        return x, torch.stack(hidden, dim=1)

    def flush(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing is owed: y [N, 0, hidden], and a state as before the first frame."""
        return state.new_empty(state.shape[0], 0, self.spec.hidden), self.initial_state(state.shape[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x, self.initial_state(x.shape[0]))[0]
