"""Running clips one after another through a system, with its state carried over as in a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamtag.model.streaming import gather_rows
from trainer.data.manifest import Array

BATCH_CLIPS = 64

ReadFeatures = Callable[[int], Array]  # index of a clip -> its features [F, P]
Indices = NDArray[np.int64]


class StreamingSystem(Protocol):
    """A system that reads frame by frame. Streams are axis 0 of every tensor in its state."""

    def initial_state(self, streams: int) -> Any: ...

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return probabilities [N, f, C] of features [N, F, P], and the new state."""
        ...

    def output_count(self, frames: int) -> int:
        """Return f, the number of probabilities for F frames."""
        ...


def predict_batch(system: StreamingSystem, clips: Sequence[Array], state: Any) -> list[Array]:
    """Return the probabilities [f, C] of clips [F, P], which may differ in length, starting from a state."""
    longest = max(len(clip) for clip in clips)
    x = torch.zeros(len(clips), longest, clips[0].shape[1])
    for row, clip in enumerate(clips):
        x[row, : len(clip)] = torch.from_numpy(clip)
    with torch.inference_mode():
        p = system.step(x, state)[0].float().cpu().numpy()
    return [p[row, : system.output_count(len(clip))] for row, clip in enumerate(clips)]


def predict_fresh(system: StreamingSystem, read: ReadFeatures, clips: Indices) -> Iterator[Array]:
    """Yield the probabilities [F, C] of each clip from the initial state."""
    for part in batches(clips):
        yield from predict_batch(system, [read(int(clip)) for clip in part], system.initial_state(len(part)))


def predict_after(system: StreamingSystem, read: ReadFeatures, clips: Indices, before: Indices) -> Iterator[Array]:
    """Yield the probabilities [F, C] of each clip from the state after the clip at the same index of `before`."""
    for part, earlier in zip(batches(clips), batches(before), strict=True):
        _, state = advance(system, read, earlier, system.initial_state(len(earlier)))
        yield from predict_batch(system, [read(int(clip)) for clip in part], state)


def predict_within(
    system: StreamingSystem, read: ReadFeatures, clips: Indices, state: Any, streams: int
) -> Iterator[Array]:
    """Yield the probabilities [F, C] of each clip as the next one of one of the streams, which have this state."""
    for start in range(0, len(clips), BATCH_CLIPS):
        part = clips[start : start + BATCH_CLIPS]
        rows = torch.arange(start, start + len(part)) % streams
        yield from predict_batch(system, [read(int(clip)) for clip in part], gather_rows(state, rows))


def advance(system: StreamingSystem, read: ReadFeatures, clips: Indices, state: Any) -> tuple[int, Any]:
    """Play one clip to each stream, and return the number of outputs and the state. Longer clips start later."""
    features = [read(int(clip)) for clip in clips]
    frames = min(len(clip) for clip in features)
    x = torch.from_numpy(np.stack([clip[len(clip) - frames :] for clip in features]))
    with torch.inference_mode():
        probabilities, state = system.step(x, state)
        return probabilities.shape[1], state


def batches(clips: Indices, size: int = BATCH_CLIPS) -> Iterator[Indices]:
    for start in range(0, len(clips), size):
        yield clips[start : start + size]
