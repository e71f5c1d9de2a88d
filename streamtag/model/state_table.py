"""The states of many streams in one place on the device: a stream is a row, and its neighbours never notice it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamtag.errors import SpecError
from streamtag.model.streaming import State, gather_rows, tree_map

Arrays = Mapping[str, NDArray[Any]]
Allocate = Callable[[torch.Size, torch.dtype], Tensor]


class StateTable(Generic[State]):
    """Preallocated states of any stage. Several threads may use rows at once, but no row two of them."""

    def __init__(self, first: State, rows: int, allocate: Allocate | None = None) -> None:
        """first: the state of one stream before its first sample, on the device; all rows begin with it.

        allocate: gives memory for the rows, the same for the same requests in another process; what stands in it
        is left alone, so that a row must be reset before it is used. None: the device's own.
        """
        self._first = first
        if allocate is None:
            self._state: State = gather_rows(first, torch.zeros(rows, dtype=torch.int64, device=_device(first)))
        else:
            self._state = tree_map(lambda leaf: allocate(torch.Size((rows, *leaf.shape[1:])), leaf.dtype), first)

    @property
    def nbytes(self) -> int:
        """Bytes of one row."""
        return sum(tensor.nbytes for tensor in leaves(self._first).values())

    def gather_rows(self, rows: Tensor) -> State:
        """The states of the rows (integers, [M]): a copy."""
        return gather_rows(self._state, rows)

    def put(self, rows: Tensor, state: State) -> None:
        """The rows are now these states."""
        for mine, new in zip(leaves(self._state).values(), leaves(state).values(), strict=True):
            mine.index_copy_(0, rows, new)

    def reset(self, rows: Tensor) -> None:
        """As before the first sample."""
        self.put(rows, gather_rows(self._first, torch.zeros_like(rows)))

    def export(self, row: int) -> dict[str, NDArray[Any]]:
        """One row's tensors, by name."""
        return {name: tensor[row].cpu().numpy().copy() for name, tensor in leaves(self._state).items()}

    def adopt(self, row: int, arrays: Arrays) -> None:
        """The opposite. Raises SpecError if they are not of this stage's shapes, or not finite."""
        own = leaves(self._state)
        if arrays.keys() != own.keys():
            raise SpecError("a stream's state has other parts than this model's")
        for name, mine in own.items():
            array = arrays[name]
            if array.shape != tuple(mine.shape[1:]) or array.dtype.kind != ("f" if mine.is_floating_point() else "i"):
                raise SpecError(f"a stream's state does not fit this model: {name} is another array")
            if not np.isfinite(array).all():
                raise SpecError(f"a stream's state holds values that are not finite: {name}")
        for name, mine in own.items():
            mine[row] = torch.as_tensor(arrays[name].copy())


def leaves(state: Any) -> dict[str, Tensor]:
    """Its tensors, by name."""
    return dict(_named(state, "state"))


def _named(state: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield name, state
    elif dataclasses.is_dataclass(state):
        for field in dataclasses.fields(state):
            yield from _named(getattr(state, field.name), field.name)


def _device(state: Any) -> torch.device:
    return next(iter(leaves(state).values())).device
