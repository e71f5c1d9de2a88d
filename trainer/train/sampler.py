"""What is heard in training: as many listeners as a step has slots, each hearing clip after clip.

A clip is heard from a random frame on, in whole stretches of `frames`, through which gradients go back; from stretch to
stretch the state is kept (truncated backpropagation through time). At a clip's end the listener goes on to the next one
in the state it has, as happens when a radio is heard, or starts anew from silence, as a file does. Some leave a clip
before its end. So the network learns to let go of the last song, and not to drift while it listens on and on. Frames
count by how long the clip has been heard: nobody can know a tag at once.
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
class Plan:
    """One step. weight [N, F]; fresh [N]: starts from silence; seed: of the changes of the features."""

    pieces: tuple[Segment, ...]
    weight: Array
    fresh: NDArray[np.bool_]
    seed: int


@dataclass
class _Slot:
    """What a slot is hearing. at: the next frame of `row`; left: how many it will still hear; since: how many it has
    heard; goes_on: to the next clip, in the state it has then."""

    row: Row | None = None
    at: int = 0
    left: int = 0
    since: int = 0
    goes_on: bool = False


class SequenceSampler:
    """Plans the steps of an epoch."""

    def __init__(self, library: FeatureDataset, config: TrainConfig, hop_s: float) -> None:
        self._library, self._config = library, config
        self._slots = min(config.batch, len(library.rows))
        longest = max(row.frames for passes in library.rows for row in passes)
        self._ramp = targets.frame_weights(longest, hop_s, config.ramp_s, config.ramp_from)

    @property
    def slots(self) -> int:
        return self._slots

    def steps(self) -> int:
        """Of an epoch: in which as many stretches are heard as the clips have."""
        stretches = sum(max(1, passes[0].frames // self._config.frames) for passes in self._library.rows)
        return max(1, stretches // self._slots)

    def epoch(self, seed: int) -> Iterator[Plan]:
        """The same seed gives the same plans. Every clip comes once before one comes again, in a random pass."""
        rng = np.random.default_rng(seed)
        clips = self._clips(rng)
        listeners = [_Slot() for _ in range(self._slots)]
        for _ in range(self.steps()):
            yield self._plan(listeners, clips, rng)

    def _clips(self, rng: Rng) -> Iterator[Row]:
        while True:
            for number in rng.permutation(len(self._library.rows)):
                passes = self._library.rows[number]
                yield passes[int(rng.integers(len(passes)))]

    def _plan(self, listeners: list[_Slot], clips: Iterator[Row], rng: Rng) -> Plan:
        frames = self._config.frames
        weight = np.zeros((self._slots, frames), dtype=np.float32)
        fresh = np.zeros(self._slots, dtype=np.bool_)
        pieces = []
        for slot, listener in enumerate(listeners):
            fresh[slot] = not listener.left and not listener.goes_on
            place = 0
            while place < frames and (place == 0 or listener.left or listener.goes_on):
                if not listener.left:
                    self._open(listener, next(clips), frames - place, rng)
                assert listener.row is not None
                count = min(listener.left, frames - place)
                pieces.append(Segment(slot, place, listener.row, listener.at, count))
                weight[slot, place : place + count] = self._ramp[listener.since : listener.since + count]
                listener.at, listener.left, listener.since = (
                    listener.at + count,
                    listener.left - count,
                    listener.since + count,
                )
                place += count
        return Plan(tuple(pieces), weight, fresh, int(rng.integers(2**62)))

    def _open(self, listener: _Slot, row: Row, room: int, rng: Rng) -> None:
        """Begin a clip where `room` frames of the stretch are left: it will end where a stretch ends, if it can."""
        frames = self._config.frames
        heard = row.frames if row.frames <= room else room + (row.frames - room) // frames * frames
        listener.row, listener.since = row, 0
        listener.at = int(rng.integers(row.frames - heard + 1))
        cut = bool(rng.random() < self._config.cut)
        listener.left = int(rng.integers(-(-heard // 5), heard - heard // 5 + 1)) if cut else heard
        listener.goes_on = cut or bool(rng.random() < self._config.carry)
