"""The states of many streams in one place on the device: a stream is a row, and its neighbours never notice it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamtag.core.stage import State, take
from streamtag.errors import SpecError

Arrays = Mapping[str, NDArray[Any]]


class Slab(Generic[State]):
    """Preallocated states of any stage. Several threads may use rows at once, but no row two of them."""

    def __init__(self, first: State, rows: int) -> None:
        """first: the state of one stream before its first sample, on the device; all rows begin with it."""
        self._first = first
        self._state: State = take(first, torch.zeros(rows, dtype=torch.int64, device=_device(first)))

    @property
    def nbytes(self) -> int:
        """Bytes of one row."""
        return sum(tensor.nbytes for tensor in _leaves(self._first).values())

    def take(self, rows: Tensor) -> State:
        """The states of the rows (integers, [M]): a copy."""
        return take(self._state, rows)

    def put(self, rows: Tensor, state: State) -> None:
        """The rows are now these states."""
        for mine, new in zip(_leaves(self._state).values(), _leaves(state).values(), strict=True):
            mine.index_copy_(0, rows, new)

    def reset(self, rows: Tensor) -> None:
        """As before the first sample."""
        self.put(rows, take(self._first, torch.zeros_like(rows)))

    def export(self, row: int) -> dict[str, NDArray[Any]]:
        """One row's tensors, by name."""
        return {name: tensor[row].cpu().numpy().copy() for name, tensor in _leaves(self._state).items()}

    def adopt(self, row: int, arrays: Arrays) -> None:
        """The opposite. Raises SpecError if they are not of this stage's shapes, or not finite."""
        own = _leaves(self._state)
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


def _leaves(state: Any) -> dict[str, Tensor]:
    return dict(_named(state, "state"))


def _named(state: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield name, state
    elif dataclasses.is_dataclass(state):
        for field in dataclasses.fields(state):
            yield from _named(getattr(state, field.name), field.name)


def _device(state: Any) -> torch.device:
    return next(iter(_leaves(state).values())).device
