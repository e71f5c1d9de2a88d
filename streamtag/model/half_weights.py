"""Products of batches on a CPU with weights that are read in half precision.

The model file holds weights in half precision, so reading them so halves the traffic and changes no weight: sums stay
in single precision, and results differ by rounding only (1e-6). The products are FBGEMM's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor

Packed = TypeVar("Packed")


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


class PackedCache(Generic[Packed]):
    """Packed weights: packed when first needed, and again after each change. A copy, in any process, starts empty.

    A change in inference mode is not noticed.
    """

    def __init__(self) -> None:
        self._key: tuple[tuple[int, int], ...] | None = None
        self._packed: Packed | None = None

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()

    def get(self, weights: Iterable[Tensor], pack: Callable[[], Packed | None]) -> Packed | None:
        """Return what `pack` makes of these weights, which may be None."""
        key = tuple((weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in weights)
        if key != self._key:
            self._packed, self._key = pack(), key
        return self._packed


def is_half(weight: Tensor) -> bool:
    """Return whether half precision can hold all values."""
    return torch.equal(weight, weight.half().float())


def _attempt(pack: Callable[[], Packed]) -> Packed | None:
    try:
        return pack()
    except (RuntimeError, AttributeError):  # a CPU without AVX2 or another engine; a build without FBGEMM
        return None
