"""The interface that every stage of the network shares, and functions of any stage's state.

A stage is a pure step: `y, state = step(x, state)`. Streams are axis 0 of every tensor in a state, so adding,
removing, holding and resetting single streams of a batch are implemented once, here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

State = TypeVar("State")


class StreamingModule(Protocol[State]):
    """A causal function of endless signals, one signal per row.

    `forward(x)` is the same function of a whole signal as `step` over its pieces followed by `flush`.
    """

    def initial_state(self, streams: int) -> State: ...

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]: ...

    def flush(self, state: State) -> tuple[Tensor, State]: ...

    def forward(self, x: Tensor) -> Tensor: ...


def where(rows: Tensor, yes: State, no: State) -> State:
    """Return the state whose stream n is that of `yes` where rows[n] (bool, [N]) is true and that of `no` elsewhere.

    With the initial state as `yes` this resets streams; with the state before a step as `yes` it holds them.
    Raises ValueError if the two states are not at the same position between two hops.
    """

    def select(a: Tensor, b: Tensor) -> Tensor:
        if a.shape != b.shape:
            raise ValueError("states can be mixed only at the same place between two hops")
        return torch.where(rows.view(-1, *[1] * (a.dim() - 1)), a, b)

    selected: State = tree_map(select, yes, no)
    return selected


def gather_rows(state: State, rows: Tensor) -> State:
    """Return the state of the streams `rows` (integers, [M]) only."""
    gathered: State = tree_map(lambda leaf: leaf[rows], state)
    return gathered


def tree_map(function: Callable[..., Tensor], *states: Any) -> Any:
    """Apply `function` to every tensor of the states. Other fields apply to the whole batch: the last state's stay."""
    last = states[-1]
    if isinstance(last, Tensor):
        return function(*states)
    if dataclasses.is_dataclass(last) and not isinstance(last, type):
        names = [f.name for f in dataclasses.fields(last)]
        return dataclasses.replace(last, **{n: tree_map(function, *(getattr(s, n) for s in states)) for n in names})
    return last


def leaves(state: Any) -> dict[str, Tensor]:
    """Return the tensors of a state by name."""
    return dict(_named_leaves(state, "state"))


def _named_leaves(state: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield name, state
    elif dataclasses.is_dataclass(state):
        for field in dataclasses.fields(state):
            yield from _named_leaves(getattr(state, field.name), field.name)
