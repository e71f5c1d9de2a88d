"""The states of many streams in preallocated tables: a stream is a row. Several processes may share the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamtag.errors import SpecError
from streamtag.model.network import TaggerNetwork
from streamtag.model.streaming import State, gather_rows, leaves, tree_map

Arrays = Mapping[str, NDArray[Any]]
Allocate = Callable[[torch.Size, torch.dtype], Tensor]

FRONT_END, HIDDEN = "scattering.", "gru."  # prefixes of a saved row's array names, whatever the parts are
CACHE_LINE = 64  # bytes; tensors start on one, so that no two processes write to the same line


class StateTable(Generic[State]):
    """Preallocated states of one stage. Several threads may use it at once, but no two of them the same row."""

    def __init__(self, first: State, rows: int, allocate: Allocate | None = None) -> None:
        """Fill all rows with `first`, the state of one stream before its first sample, on the device.

        allocate: returns memory for the rows, the same memory for the same requests in another process. Its content
        is left as it is, so a row must be reset before it is used. None: ordinary memory of the device.
        """
        self._first = first
        if allocate is None:
            device = next(iter(leaves(first).values())).device
            self._state: State = gather_rows(first, torch.zeros(rows, dtype=torch.int64, device=device))
        else:
            self._state = tree_map(lambda leaf: allocate(torch.Size((rows, *leaf.shape[1:])), leaf.dtype), first)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return sum(tensor.nbytes for tensor in leaves(self._first).values())

    def gather(self, rows: Tensor) -> State:
        """Return a copy of the states of the rows (integers, [M])."""
        return gather_rows(self._state, rows)

    def scatter(self, rows: Tensor, state: State) -> None:
        """Replace the states of the rows (integers, [M])."""
        for leaf, new in zip(leaves(self._state).values(), leaves(state).values(), strict=True):
            leaf.index_copy_(0, rows, new)

    def reset(self, rows: Tensor) -> None:
        """Set the rows to the state before the first sample."""
        self.scatter(rows, gather_rows(self._first, torch.zeros_like(rows)))

    def save_row(self, row: int) -> dict[str, NDArray[Any]]:
        """Return copies of one row's tensors by name."""
        return {name: tensor[row].cpu().numpy().copy() for name, tensor in leaves(self._state).items()}

    def load_row(self, row: int, arrays: Arrays) -> None:
        """Restore a saved row. Raises SpecError if the arrays do not have this stage's shapes or are not finite."""
        own = leaves(self._state)
        if arrays.keys() != own.keys():
            raise SpecError("a stream's state has other parts than this model's")
        for name, leaf in own.items():
            array = arrays[name]
            if array.shape != tuple(leaf.shape[1:]) or array.dtype.kind != ("f" if leaf.is_floating_point() else "i"):
                raise SpecError(f"a stream's state does not fit this model: {name} is another array")
            if not np.isfinite(array).all():
                raise SpecError(f"a stream's state holds values that are not finite: {name}")
        for name, leaf in own.items():
            leaf[row] = torch.as_tensor(arrays[name].copy())


class StreamStates:
    """One row per stream in two tables, the front end's and the recurrent layers'. All streams are between two hops.

    Several threads may use it at once, but no two of them the same row.
    """

    def __init__(self, network: TaggerNetwork, rows: int, allocate: Allocate | None = None) -> None:
        """Allocate the rows; see StateTable for `allocate`."""
        self._device = network.head.weight.device
        with torch.inference_mode():
            self.front_end = StateTable(network.front_end.state_between_hops(1), rows, allocate)
            self.hidden = StateTable(network.recurrent.initial_state(1), rows, allocate)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.front_end.row_bytes + self.hidden.row_bytes

    @torch.inference_mode()
    def reset(self, rows: NDArray[Any]) -> None:
        """Restart the rows (integers, [M]) as new streams."""
        indices = torch.from_numpy(rows).to(self._device)
        self.front_end.reset(indices)
        self.hidden.reset(indices)

    @torch.inference_mode()
    def reset_context(self, rows: NDArray[Any]) -> None:
        """Reset the recurrent state of the rows (integers, [M]); the audio history stays."""
        self.hidden.reset(torch.from_numpy(rows).to(self._device))

    @torch.inference_mode()
    def save_row(self, row: int) -> dict[str, NDArray[Any]]:
        """Return a copy of everything that a row holds, by name."""
        parts = ((FRONT_END, self.front_end), (HIDDEN, self.hidden))
        return {prefix + name: array for prefix, table in parts for name, array in table.save_row(row).items()}

    @torch.inference_mode()
    def load_row(self, row: int, arrays: Arrays) -> None:
        """Restore a saved row. Raises SpecError if the arrays do not have this model's shapes."""
        if not all(name.startswith((FRONT_END, HIDDEN)) for name in arrays):
            raise SpecError("a stream's state has other parts than this model's")
        for prefix, table in ((HIDDEN, self.hidden), (FRONT_END, self.front_end)):
            table.load_row(row, {n.removeprefix(prefix): array for n, array in arrays.items() if n.startswith(prefix)})


class SharedBufferAllocator:
    """Tensors one after the other in a buffer.

    The same requests in the same order over the same memory return the same tensors in every process.
    """

    def __init__(self, buffer: Any) -> None:
        """buffer: a writable object with bytes, such as a memory map. The tensors keep it alive."""
        self._buffer = buffer
        self._used = 0

    def allocate(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Return the next tensor; its content is left as it is. Raises ValueError if the buffer is too small."""
        count = math.prod(shape)
        tensor = torch.frombuffer(self._buffer, dtype=dtype, count=count, offset=self._used)
        self._used += aligned_size(count * dtype.itemsize)
        return tensor.view(shape)


def aligned_size(size: int) -> int:
    """Return the bytes that a tensor of `size` bytes takes of a SharedBufferAllocator."""
    return -(-size // CACHE_LINE) * CACHE_LINE


def shared_state_bytes(network: TaggerNetwork, rows: int) -> int:
    """Return the bytes that StreamStates takes of a SharedBufferAllocator."""
    states = network.front_end.state_between_hops(1), network.recurrent.initial_state(1)
    return sum(aligned_size(rows * leaf.nbytes) for state in states for leaf in leaves(state).values())
