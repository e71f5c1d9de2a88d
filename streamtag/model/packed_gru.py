"""The GRU frame by frame, with its weights in the form in which a CPU multiplies fastest."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from streamtag.errors import SpecError
from streamtag.model.recurrent import StackedGRU

PRECISIONS = ("float32", "bfloat16")
ROWS = 8  # oneDNN makes and keeps a kernel for every N: from 1 to 64 they took 77 MB


class FrameGRU(Protocol):
    """x [N, inputs], state [N, layers, hidden] -> y [N, hidden], new state."""

    def frame(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]: ...


def packed(gru: StackedGRU, precision: str) -> FrameGRU:
    """What does `gru.frame` in that precision of its products. The weights are copied as they are now.

    Raises SpecError if there is no such precision.
    """
    check_precision(precision)
    if precision == "bfloat16":
        return _PackedGRU(gru, BFloat16Linear)
    on_cpu = next(gru.parameters()).device.type == "cpu"
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return _PackedGRU(gru, OneDnnLinear) if on_cpu and onednn else gru


def check_precision(precision: str) -> None:
    """Raises SpecError if there is no such precision."""
    if precision not in PRECISIONS:
        raise SpecError(f"precision is {' or '.join(PRECISIONS)}, not {precision}")


class OneDnnLinear:
    """x [N, inputs] -> W x + b [N, outputs] in float32 by oneDNN: on some CPUs 1.7 times as fast as by MKL."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight.float().to_mkldnn(), bias.float().to_mkldnn()

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.contiguous().to_mkldnn(), self._weight, self._bias).to_dense()


class BFloat16Linear:
    """The same, but what is multiplied is bfloat16: half the memory, and half the time on CPUs with units for it
    (avx512_bf16, amx_bf16). On others it takes two to four times as long.

    A product is summed in float32 but comes out rounded. At another size of the batch it is summed in another order,
    and may then be rounded the other way: batches equal single streams less closely than in float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight.bfloat16(), bias.float()

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.bfloat16(), self._weight).float().add_(self._bias)


class _PackedGRU:
    """State, gates and biases are float32 whatever the products are, so that a state that hardly moves still moves.

    N is rounded up to a multiple of ROWS.
    """

    def __init__(self, gru: StackedGRU, product: type[OneDnnLinear] | type[BFloat16Linear]) -> None:
        self._layers = [(product(w_ih, b_ih), product(w_hh, b_hh)) for w_ih, w_hh, b_ih, b_hh in gru.gru.all_weights]

    def frame(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        streams = len(x)
        if spare := -streams % ROWS:
            x, state = nn.functional.pad(x, (0, 0, 0, spare)), nn.functional.pad(state, (0, 0, 0, 0, 0, spare))
        moved, hidden = torch.empty_like(state), state.shape[-1]
        for layer, (of_input, of_state) in enumerate(self._layers):
            before = state[:, layer]
            new, old = of_input(x), of_state(before)
            gates = new[:, : 2 * hidden].add_(old[:, : 2 * hidden]).sigmoid_()  # reset, update
            candidate = new[:, 2 * hidden :].addcmul_(gates[:, :hidden], old[:, 2 * hidden :]).tanh_()
            x = torch.lerp(candidate, before, gates[:, hidden:])
            moved[:, layer] = x
        return x[:streams], moved[:streams]
