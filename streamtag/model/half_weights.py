"""The GRU or LSTM of a few streams on a CPU, with weights that are read in half precision.

One stream reads all recurrent weights from memory for every frame, which takes most of the time. The model file holds
them in half precision, so reading them so halves the traffic and changes no weight: sums stay in single precision, and
results differ by rounding only (1e-6). The products are FBGEMM's, inside torch's own recurrent operator.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MAX_STREAMS = 16  # with more streams arithmetic takes the time, not memory

Key = tuple[tuple[int, int], ...]


class HalfWeights:
    """Packed copies of the weights of a GRU or LSTM.

    They are made where they are first used and renewed when the weights change. A copy of it, in this process or
    another, starts empty.
    """

    def __init__(self) -> None:
        self._key: Key | None = None
        self._cells: list[Any] | None = None

    def __reduce__(self) -> tuple[type[HalfWeights], tuple[()]]:
        return HalfWeights, ()

    def run(self, layers: nn.GRU | nn.LSTM, x: Tensor, *state: Tensor) -> tuple[Tensor, ...] | None:
        """Return the output and the new state of the layers, or None where only they themselves can compute them.

        x [N, F, inputs], state [layers, N, hidden] each: one of a GRU, two of an LSTM. That is so for many streams,
        where gradients are needed, on other devices and CPUs, and for weights that half precision cannot hold exactly.
        """
        if x.shape[0] > MAX_STREAMS or x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled():
            return None
        key = tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in layers.parameters())
        if key != self._key:
            self._cells = _pack(layers)
            self._key = key
        if self._cells is None:
            return None
        settings = self._cells, True, layers.num_layers, 0.0, False, False, layers.batch_first
        outputs: tuple[Tensor, ...] = (
            torch.ops.aten.quantized_gru.input(x, *state, *settings)
            if isinstance(layers, nn.GRU)
            else torch.ops.aten.quantized_lstm.input(x, state, *settings, dtype=torch.float16, use_dynamic=True)
        )
        return outputs


def _pack(layers: nn.GRU | nn.LSTM) -> list[Any] | None:
    """Return the operator's parameters, one per layer, or None if this machine or these weights do not allow them."""
    weights = [weight.detach() for weight in layers.parameters()]
    if any(weight.device.type != "cpu" or weight.dtype != torch.float32 for weight in weights):
        return None
    if any(weight.dim() == 2 and not torch.equal(weight, weight.half().float()) for weight in weights):
        return None
    pack, cell = torch.ops.quantized.linear_prepack_fp16, torch.ops.quantized.make_quantized_cell_params_fp16
    try:
        return [cell(pack(w_ih, b_ih), pack(w_hh, b_hh)) for w_ih, w_hh, b_ih, b_hh in layers.all_weights]
    except (RuntimeError, AttributeError):  # a CPU without AVX2 or another engine; a build without FBGEMM
        return None
