"""Products on a CPU with weights that are read in half precision.

One stream reads all recurrent weights from memory for every frame, which takes most of the time. The model file holds
them in half precision, so reading them so halves the traffic and changes no weight: sums stay in single precision, and
results differ by rounding only (1e-6). The products are FBGEMM's, inside torch's own recurrent operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

MAX_STREAMS = 16  # with more streams arithmetic takes the time, not memory
MIN_FRAMES = 128  # packing takes as long as it saves in so many frames of one stream

Packed = TypeVar("Packed")
Key = tuple[tuple[int, int], ...]


class HalfLinear:
    """x [N, inputs] -> W x + b [N, outputs] with W in half precision. The sums are in single precision."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight, bias)

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._packed)
        return y


def half_linear(weight: Tensor, bias: Tensor) -> HalfLinear | None:
    """Return the product of a weight, or None if half precision would change it, or if this CPU has no such product."""
    return _attempt(lambda: HalfLinear(weight, bias)) if _is_half(weight) else None


class HalfProduct:
    """The product of one weight, packed when first needed and after each change of the weight. A copy starts empty."""

    def __init__(self) -> None:
        self._key: Key | None = None
        self._linear: HalfLinear | None = None

    def __reduce__(self) -> tuple[type[HalfProduct], tuple[()]]:
        return HalfProduct, ()

    def packed(self, weight: Tensor, bias: Tensor) -> HalfLinear | None:
        """Return what `half_linear` does, or None on other devices, or where gradients are needed."""
        if weight.device.type != "cpu" or weight.dtype != torch.float32 or torch.is_grad_enabled():
            return None
        if (key := _key((weight, bias))) != self._key:
            self._linear, self._key = half_linear(weight.detach(), bias.detach()), key
        return self._linear


class HalfWeights:
    """Packed copies of the weights of a GRU or LSTM.

    They are made after `min_frames` frames, so that short sounds do not wait for them, and renewed when the weights
    change. A copy of it, in this process or another, starts empty.
    """

    def __init__(self, min_frames: int = MIN_FRAMES) -> None:
        self._frames_left = min_frames
        self._key: Key | None = None
        self._cells: list[Any] | None = None

    def __reduce__(self) -> tuple[type[HalfWeights], tuple[()]]:
        return HalfWeights, ()

    def run(self, layers: nn.GRU | nn.LSTM, x: Tensor, *state: Tensor) -> tuple[Tensor, ...] | None:
        """Return the output and the new state of the layers, or None where only they themselves can compute them.

        x [N, F, inputs], state [layers, N, hidden] each: one of a GRU, two of an LSTM.
        """
        cells = self.packed(layers, x, lambda: _cells(layers))
        if cells is None:
            return None
        settings = cells, True, layers.num_layers, 0.0, False, False, layers.batch_first
        outputs: tuple[Tensor, ...] = (
            torch.ops.aten.quantized_gru.input(x, *state, *settings)
            if isinstance(layers, nn.GRU)
            else torch.ops.aten.quantized_lstm.input(x, state, *settings, dtype=torch.float16, use_dynamic=True)
        )
        return outputs

    def packed(self, layers: nn.GRU | nn.LSTM, x: Tensor, pack: Callable[[], list[Any]]) -> list[Any] | None:
        """Return what `pack` makes of the layers' weights, or None where x [N, F, inputs] has to do without.

        That is so for many streams, where gradients are needed, on other devices and CPUs, for weights that half
        precision cannot hold exactly, and for the first frames.
        """
        if x.shape[0] > MAX_STREAMS or x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled():
            return None
        if self._frames_left > 0:
            self._frames_left -= x.shape[1]
            return None
        if (key := _key(layers.parameters())) != self._key:
            self._cells, self._key = _attempt(pack) if _are_halves(layers) else None, key
        return self._cells


def _key(weights: Iterable[Tensor]) -> Key:
    """Return what is equal for equal weights, unless they were changed in inference mode."""
    return tuple((weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in weights)


def _are_halves(layers: nn.GRU | nn.LSTM) -> bool:
    weights = [weight.detach() for weight in layers.parameters()]
    if any(weight.device.type != "cpu" or weight.dtype != torch.float32 for weight in weights):
        return False
    return all(weight.dim() != 2 or _is_half(weight) for weight in weights)


def _is_half(weight: Tensor) -> bool:
    return torch.equal(weight, weight.half().float())


def _attempt(pack: Callable[[], Packed]) -> Packed | None:
    try:
        return pack()
    except (RuntimeError, AttributeError):  # a CPU without AVX2 or another engine; a build without FBGEMM
        return None


def _cells(layers: nn.GRU | nn.LSTM) -> list[Any]:
    """Return the parameters of torch's operator, one per layer."""
    pack, cell = torch.ops.quantized.linear_prepack_fp16, torch.ops.quantized.make_quantized_cell_params_fp16
    return [cell(pack(w_ih, b_ih), pack(w_hh, b_hh)) for w_ih, w_hh, b_ih, b_hh in layers.all_weights]
