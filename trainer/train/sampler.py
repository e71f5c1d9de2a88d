"""Sampling of training sequences: a step has a number of slots, each of which plays clip after clip.

A clip is played from a random frame on, in segments of `frames` frames through which gradients flow back; between the
segments the state is kept (truncated backpropagation through time). At the end of a clip, the slot continues with the
next one in the current state, as a radio does, or restarts from the initial state, as a file does. Some clips are cut
before their end. So the network learns to forget the last song, and does not drift over long streams. Frames are
weighted by the time since the clip began, since no tag can be known at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer import targets
from trainer.data.manifest import Array
from trainer.train.config import TrainConfig
from trainer.train.dataset import FeatureDataset, Row, Segment

Rng = np.random.Generator


@dataclass(frozen=True)
class StepPlan:
    """One step: segments, `weight` [N, F], `fresh` [N] (starts from the initial state), and an augmentation seed."""

    segments: tuple[Segment, ...]
    weight: Array
    fresh: NDArray[np.bool_]
    seed: int


@dataclass
class _Slot:
    """What a slot is playing: the `next` frame of `row`, how many frames it will still play and has `played`.

    `continues`: after this clip, the next one starts in the current state.
    """

    row: Row | None = None
    next: int = 0
    remaining: int = 0
    played: int = 0
    continues: bool = False


class SequenceSampler:
    """Plans the steps of an epoch."""

    def __init__(self, dataset: FeatureDataset, config: TrainConfig, hop_s: float) -> None:
        self._dataset, self._config = dataset, config
        self.slots = min(config.batch, len(dataset.rows))
        longest = max(row.frames for passes in dataset.rows for row in passes)
        self._ramp = targets.frame_weights(longest, hop_s, config.ramp_s, config.ramp_from)
        segments = sum(max(1, passes[0].frames // config.frames) for passes in dataset.rows)
        self.steps = max(1, segments // self.slots)  # of an epoch, which plays as many segments as the clips have

    def epoch(self, seed: int) -> Iterator[StepPlan]:
        """Yield the steps for a seed. Every clip is used once before any is repeated, in a random pass."""
        rng = np.random.default_rng(seed)
        clips = self._clips(rng)
        slots = [_Slot() for _ in range(self.slots)]
        for _ in range(self.steps):
            yield self._plan(slots, clips, rng)

    def _clips(self, rng: Rng) -> Iterator[Row]:
        while True:
            for number in rng.permutation(len(self._dataset.rows)):
                passes = self._dataset.rows[number]
                yield passes[int(rng.integers(len(passes)))]

    def _plan(self, slots: list[_Slot], clips: Iterator[Row], rng: Rng) -> StepPlan:
        frames = self._config.frames
        weight = np.zeros((self.slots, frames), dtype=np.float32)
        fresh = np.zeros(self.slots, dtype=np.bool_)
        segments = []
        for number, slot in enumerate(slots):
            fresh[number] = not slot.remaining and not slot.continues
            position = 0
            while position < frames and (position == 0 or slot.remaining or slot.continues):
                if not slot.remaining:
                    self._open(slot, next(clips), frames - position, rng)
                assert slot.row is not None
                count = min(slot.remaining, frames - position)
                segments.append(Segment(number, position, slot.row, slot.next, count))
                weight[number, position : position + count] = self._ramp[slot.played : slot.played + count]
                slot.next += count
                slot.remaining -= count
                slot.played += count
                position += count
        return StepPlan(tuple(segments), weight, fresh, int(rng.integers(2**62)))

    def _open(self, slot: _Slot, row: Row, room: int, rng: Rng) -> None:
        """Start a clip where `room` frames of the segment are left; it ends at the end of a segment if possible."""
        frames = self._config.frames
        count = row.frames if row.frames <= room else room + (row.frames - room) // frames * frames
        slot.row, slot.played = row, 0
        slot.next = int(rng.integers(row.frames - count + 1))
        cut = bool(rng.random() < self._config.cut)
        slot.remaining = int(rng.integers(-(-count // 5), count - count // 5 + 1)) if cut else count
        slot.continues = cut or bool(rng.random() < self._config.carry)
