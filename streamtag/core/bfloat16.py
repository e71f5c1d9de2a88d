"""The GRU with its matrix products in bfloat16, which CPUs with units for it do three times faster than float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamtag.core.gru import StackedGRU
from streamtag.errors import SpecError

PRECISIONS = ("float32", "bfloat16")


class Bfloat16GRU:
    """Frames of a StackedGRU, which stays as it is: the weights are rounded to bfloat16 once, and half the size.

    What is multiplied is bfloat16, the state, the gates and the biases are float32, so that a state that hardly moves
    still moves. A product is summed in float32 but comes out rounded. Depending on the size of the batch it is summed
    in another order, and may then be rounded the other way: batches equal single streams less closely than in float32.
    """

    def __init__(self, gru: StackedGRU) -> None:
        self._layers = [
            (w_ih.bfloat16(), w_hh.bfloat16(), b_ih.float(), b_hh.float())
            for w_ih, w_hh, b_ih, b_hh in gru.gru.all_weights
        ]

    def frame(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As StackedGRU.frame: x [N, inputs], state [N, layers, hidden] -> y [N, hidden], new state."""
        moved, rounded, hidden = torch.empty_like(state), state.bfloat16(), state.shape[-1]
        for layer, (w_ih, w_hh, b_ih, b_hh) in enumerate(self._layers):
            before = state[:, layer]
            new = nn.functional.linear(x.bfloat16(), w_ih).float().add_(b_ih)
            old = nn.functional.linear(rounded[:, layer], w_hh).float().add_(b_hh)
            gates = new[:, : 2 * hidden].add_(old[:, : 2 * hidden]).sigmoid_()
            candidate = new[:, 2 * hidden :].addcmul_(gates[:, :hidden], old[:, 2 * hidden :]).tanh_()
            x = torch.lerp(candidate, before, gates[:, hidden:])
            moved[:, layer] = x
        return x, moved


def of_precision(gru: StackedGRU, precision: str) -> StackedGRU | Bfloat16GRU:
    """What steps frames in that precision. Raises SpecError if there is no such precision."""
    if precision not in PRECISIONS:
        raise SpecError(f"precision is {' or '.join(PRECISIONS)}, not {precision}")
    return gru if precision == "float32" else Bfloat16GRU(gru)
