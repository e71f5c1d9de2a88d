"""What every stage of the network has in common, and what can be done with any stage's state.

A stage is a pure step: `y, state = step(x, state)`. Streams are axis 0 of every tensor in a state, so what
happens to single streams of a batch (joining, leaving, holding, starting anew) is written here once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

State = TypeVar("State")


class StreamingModule(Protocol[State]):
    """A causal function of endless signals, one signal a row.

    `forward(x)` is the same function of a whole signal as `step` over its pieces and a final `flush`.
    """

    def initial_state(self, streams: int) -> State: ...

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]: ...

    def flush(self, state: State) -> tuple[Tensor, State]: ...

    def forward(self, x: Tensor) -> Tensor: ...


def where(rows: Tensor, yes: State, no: State) -> State:
    """The state whose stream n is that of `yes` where rows[n] (bool, [N]) is true and that of `no` elsewhere.

    With `yes` the initial state this resets streams; with `yes` the state before a step it holds them.
    Raises ValueError if the two do not stand at the same place between two hops.
    """

    def pick(a: Tensor, b: Tensor) -> Tensor:
        if a.shape != b.shape:
            raise ValueError("states can be mixed only at the same place between two hops")
        return torch.where(rows.view(-1, *[1] * (a.dim() - 1)), a, b)

    chosen: State = tree_map(pick, yes, no)
    return chosen


def gather_rows(state: State, rows: Tensor) -> State:
    """The state of the streams with the numbers `rows` (integers, [M]) alone."""
    taken: State = tree_map(lambda a: a[rows], state)
    return taken


def tree_map(function: Callable[..., Tensor], *states: Any) -> Any:
    """`function` of every tensor; what is no tensor belongs to the whole batch and stays as in the last state."""
    last = states[-1]
    if isinstance(last, Tensor):
        return function(*states)
    if dataclasses.is_dataclass(last) and not isinstance(last, type):
        names = [f.name for f in dataclasses.fields(last)]
        return dataclasses.replace(last, **{n: tree_map(function, *(getattr(s, n) for s in states)) for n in names})
    return last
