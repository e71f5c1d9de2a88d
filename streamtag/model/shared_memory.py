"""Memory that several processes share, dealt out as tensors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

ALIGNED = 64  # bytes: a line of the cache, so that no two processes write to the same one


class SharedBufferAllocator:
    """Tensors one after the other in a buffer: whoever asks for the same ones in the same order, over the same
    memory, has the same tensors."""

    def __init__(self, buffer: Any) -> None:
        """buffer: anything with bytes that can be written to, as a memory map; kept alive by the tensors."""
        self._buffer = buffer
        self._used = 0

    def allocate(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """What stands there already is left alone. Raises ValueError where the buffer is too small."""
        count = math.prod(shape)
        tensor = torch.frombuffer(self._buffer, dtype=dtype, count=count, offset=self._used)
        self._used += aligned(count * dtype.itemsize)
        return tensor.view(shape)


def aligned(size: int) -> int:
    """Bytes that a tensor of `size` bytes takes of an arena."""
    return -(-size // ALIGNED) * ALIGNED
