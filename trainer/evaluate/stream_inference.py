"""Clips heard one after another with the state carried, as a stream hears them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamtag.model.streaming import gather_rows
from trainer.data.manifest import Array

TOGETHER = 64  # clips in a batch

Read = Callable[[int], Array]  # number of a clip -> its features [F, P]
Indices = NDArray[np.int64]


class Listener(Protocol):
    """A system that hears frame after frame. Streams are axis 0 of every tensor in its state."""

    def initial_state(self, streams: int) -> Any: ...

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Features [N, F, P], state -> probabilities [N, F, C], state."""
        ...


def play(listener: Listener, clips: Sequence[Array], state: Any) -> list[Array]:
    """What is said about clips [F, P] that are heard in this state; they may differ in length."""
    longest = max(len(clip) for clip in clips)
    x = torch.zeros(len(clips), longest, clips[0].shape[1])
    for row, clip in enumerate(clips):
        x[row, : len(clip)] = torch.from_numpy(clip)
    with torch.inference_mode():
        said = listener.step(x, state)[0].float().cpu().numpy()
    return [said[row, : len(clip)] for row, clip in enumerate(clips)]


def fresh(listener: Listener, read: Read, clips: Indices) -> Iterator[Array]:
    """Each clip [F, C] from silence."""
    for part in batches(clips):
        yield from play(listener, [read(int(clip)) for clip in part], listener.initial_state(len(part)))


def after(listener: Listener, read: Read, clips: Indices, before: Indices) -> Iterator[Array]:
    """Each clip [F, C] with the state that another one, at the same place in `before`, has left."""
    for part, earlier in zip(batches(clips), batches(before), strict=True):
        _, state = go_on(listener, read, earlier, listener.initial_state(len(earlier)))
        yield from play(listener, [read(int(clip)) for clip in part], state)


def within(listener: Listener, read: Read, clips: Indices, state: Any, streams: int) -> Iterator[Array]:
    """Each clip [F, C] as the next one of some of the streams whose state this is."""
    for start in range(0, len(clips), TOGETHER):
        part = clips[start : start + TOGETHER]
        rows = torch.arange(start, start + len(part)) % streams
        yield from play(listener, [read(int(clip)) for clip in part], gather_rows(state, rows))


def go_on(listener: Listener, read: Read, clips: Indices, state: Any) -> tuple[int, Any]:
    """One clip more for every stream -> frames heard, state. Longer ones begin later, so that all end together."""
    heard = [read(int(clip)) for clip in clips]
    frames = min(len(clip) for clip in heard)
    x = torch.from_numpy(np.stack([clip[len(clip) - frames :] for clip in heard]))
    with torch.inference_mode():
        return frames, listener.step(x, state)[1]


def batches(clips: Indices) -> Iterator[Indices]:
    for start in range(0, len(clips), TOGETHER):
        yield clips[start : start + TOGETHER]
