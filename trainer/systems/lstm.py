"""The LSTM layer: torch's, and our own where recurrent dropout is asked for.

On a CPU torch's is twice as fast as ours in float32 and equal in bfloat16 (4 layers of 512, 64 clips of 114 frames,
forward and backward, one thread: 1.7 s against 3.5 s, 0.97 s against 0.96 s), unlike its GRU.

One bias a gate, as the paper counts: of torch's second set of biases nothing is trained, it stays zero. The forget
gates' biases start at 1, as TensorFlow's did, with which the paper was made.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.systems import fast_lstm
from trainer.systems.recurrent import precision, start_weights


class LSTMLayer(nn.Module):
    """x [N, F, I] -> y [N, F, H]; its cells are the hidden state and the cell, [N, 2, H]."""

    cells = 2

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True)
        w_ih, w_hh, b_ih, b_hh = self.lstm.all_weights[0]
        start_weights(w_ih, recurrent=False, gates=4)
        start_weights(w_hh, recurrent=True, gates=4)
        nn.init.zeros_(b_ih)
        b_ih.data[hidden : 2 * hidden] = 1.0
        nn.init.zeros_(b_hh).requires_grad_(False)

    def forward(self, x: Tensor, cells: Tensor, heard: Tensor, dropout: float) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        if not dropout:
            h, c = cells.transpose(0, 1).contiguous().chunk(2)
            y, (h, c) = self.lstm(x, (h, c))
            return y, torch.cat([h, c]).transpose(0, 1).float()
        y, h, c = fast_lstm.run(self.lstm, x, cells[:, 0], cells[:, 1], dropout, precision(x))
        return y, torch.stack([h, c], dim=1)
