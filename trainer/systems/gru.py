"""The GRU layer: cuDNN's on a GPU, our own on a CPU and wherever recurrent dropout is asked for.

One bias a gate, as the paper counts: torch's second set of biases is not trained and stays zero. As in cuDNN and in
`streamtag.model`, the reset gate comes after the recurrent product: n = tanh(W x + b + r (U h)).
In the paper (Eq. 9) it comes before: n = tanh(W x + b + U (r h)), with as many parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from trainer.systems import fast_gru
from trainer.systems.recurrent import precision, start_weights


class GRULayer(nn.Module):
    """x [N, F, I] -> y [N, F, H]; its cells are the hidden state alone, [N, 1, H]."""

    cells = 1

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, hidden, batch_first=True)
        w_ih, w_hh, b_ih, b_hh = self.gru.all_weights[0]
        start_weights(w_ih, recurrent=False, gates=3)
        start_weights(w_hh, recurrent=True, gates=3)
        nn.init.zeros_(b_ih)
        nn.init.zeros_(b_hh).requires_grad_(False)

    def forward(self, x: Tensor, cells: Tensor, heard: Tensor, dropout: float) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        if x.is_cuda and not dropout:
            y, last = self.gru(x, cells.transpose(0, 1).contiguous())
            return y, last.transpose(0, 1).float()
        y, h = fast_gru.run(self.gru, x, cells[:, 0], dropout, precision(x))
        return y, h[:, None]
