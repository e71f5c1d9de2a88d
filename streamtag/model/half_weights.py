"""Products of batches on a CPU with weights that are read in half precision.

The model file holds weights in half precision, so reading them so halves the traffic and changes no weight: sums stay
in single precision, and results differ by rounding only (1e-6). The products are FBGEMM's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor

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
    return _attempt(lambda: HalfLinear(weight, bias)) if is_half(weight) else None


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
        if (key := weights_key((weight, bias))) != self._key:
            self._linear, self._key = half_linear(weight.detach(), bias.detach()), key
        return self._linear


def weights_key(weights: Iterable[Tensor]) -> Key:
    """Return what is equal for equal weights, unless they were changed in inference mode."""
    return tuple((weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in weights)


def is_half(weight: Tensor) -> bool:
    """Return whether half precision can hold all values."""
    return torch.equal(weight, weight.half().float())


def _attempt(pack: Callable[[], Packed]) -> Packed | None:
    try:
        return pack()
    except (RuntimeError, AttributeError):  # a CPU without AVX2 or another engine; a build without FBGEMM
        return None
