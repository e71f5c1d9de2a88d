"""The network while it learns: core's stack of GRU layers and the output layer, giving log-odds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamtag.spec import NetworkSpec
from trainer import fast_gru


class Network(nn.Module):
    """The same weights under the same names as in the tagger: `gru.*` of torch.nn.GRU, `head.*`."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.gru = nn.GRU(spec.inputs, spec.hidden, spec.layers, batch_first=True)
        self.head = nn.Linear(spec.hidden, spec.outputs)
        for name, weight in self.gru.named_parameters():
            if "weight_hh" in name:
                for gate in weight.data.chunk(3):
                    nn.init.orthogonal_(gate)
            elif "weight_ih" in name:
                for gate in weight.data.chunk(3):
                    nn.init.xavier_uniform_(gate)
            else:
                nn.init.zeros_(weight)

    def initial_state(self, streams: int) -> Tensor:
        return self.head.weight.new_zeros(streams, self.spec.layers, self.spec.hidden)

    def forward(self, x: Tensor, state: Tensor, dropout: float, kind: torch.dtype) -> tuple[Tensor, Tensor]:
        """x [N, F, I], state [N, layers, H] -> log-odds [N, F, C] float32, state.

        On a GPU the stack is cuDNN's, with dropout of single values instead of held units.
        """
        if x.is_cuda:
            self.gru.dropout = dropout
            self.gru.train(dropout > 0)
            with torch.autocast("cuda", kind, enabled=kind != torch.float32):
                y, last = self.gru(x, state.transpose(0, 1).contiguous())
            state = last.transpose(0, 1).float()
        else:
            y, state = fast_gru.run(self.gru, x, state, dropout, kind)
        y = nn.functional.dropout(y.float(), dropout, training=dropout > 0)
        return self.head(y), state
