"""Sequences to train on: features and frame targets in memory, and steps of them in random order.

A step has one sequence for each of N slots. A slot is a listener: some of its sequences start where the one
before ended, with the state it left (`fresh` is false), some change to another clip on the way, so that the
network learns to let go of the last song; the others start from silence, as a file does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer import targets
from trainer.config import TrainConfig
from trainer.features import Cache
from trainer.manifest import Array

Half = NDArray[np.float16]


@dataclass(frozen=True)
class Batch:
    """x [N, F, P] standardised features, y [N, F, C] targets, weight [N, F], fresh [N]: starts from a zero
    state."""

    x: Tensor
    y: Tensor
    weight: Tensor
    fresh: Tensor


@dataclass(frozen=True)
class Row:
    """One clip in one pass: features [F, P] and targets [F, C], in half precision to fit many passes in
    memory."""

    x: Half
    y: Half


@dataclass(frozen=True)
class Library:
    """rows[i][p]: clip i of the split, pass p (0: as it is)."""

    clips: NDArray[np.int64]
    rows: tuple[tuple[Row, ...], ...]


def load(
    cache: Cache,
    clips: NDArray[np.int64],
    passes: Sequence[int],
    config: TrainConfig,
    normalize: Callable[[Array], Array],
    tick: Callable[[], None],
) -> Library:
    """Read clips of a manifest from the cache. `tick` is called after each clip."""
    rows = []
    for index in clips:
        rows.append(tuple(_row(cache, int(index), passage, config, normalize) for passage in passes))
        tick()
    return Library(clips, tuple(rows))


def _row(cache: Cache, index: int, passage: int, config: TrainConfig, normalize: Callable[[Array], Array]) -> Row:
    manifest, spec = cache.manifest, cache.spec
    clip_id = manifest.clips[index].clip_id
    recipe = cache.recipe(passage, clip_id)
    partner = cache.index[recipe.partner] if recipe.partner else None
    x = normalize(cache.read(passage, clip_id))
    y = targets.frame_targets(manifest, index, recipe, partner, len(x), spec.hop_s, config.modulation, config.lag_s)
    return Row(np.clip(x, -60000, 60000).astype(np.float16), y.astype(np.float16))


class Sampler:
    """Draws the steps of an epoch. offsets [2, P]: what one decibel of loudness, and of tilt per octave,
    adds to the features."""

    def __init__(self, library: Library, config: TrainConfig, hop_s: float, offsets: Array) -> None:
        self._library = library
        self._config = config
        self._offsets = torch.from_numpy(offsets)
        self._ramp = targets.frame_weights(config.frames, hop_s, config.ramp_s, config.ramp_from)

    def steps(self) -> int:
        """Steps of an epoch."""
        return max(1, len(self._library.rows) // self._slots)

    @property
    def _slots(self) -> int:
        return min(self._config.batch, len(self._library.rows))

    def epoch(self, seed: int) -> Iterator[Batch]:
        """Every clip at most once, each in a random pass; the same seed gives the same batches."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self._library.rows))
        full = np.zeros(self._slots, dtype=np.bool_)  # the slots whose last sequence was whole
        for step in range(self.steps()):
            chosen = order[step * self._slots : (step + 1) * self._slots]
            batch, full = self._batch(chosen, full, rng)
            yield batch

    def _batch(
        self, chosen: NDArray[np.int64], full: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[Batch, NDArray[np.bool_]]:
        config, frames = self._config, self._config.frames
        rows = [self._pick(int(i), rng) for i in chosen]
        width, tags = rows[0].x.shape[1], rows[0].y.shape[1]
        x = np.zeros((len(rows), frames, width), dtype=np.float16)
        y = np.zeros((len(rows), frames, tags), dtype=np.float16)
        weight = np.zeros((len(rows), frames), dtype=np.float32)
        whole = np.zeros(len(rows), dtype=np.bool_)
        for slot, row in enumerate(rows):
            length = self._put(row, x[slot], y[slot], weight[slot], rng)
            whole[slot] = length == frames
            if rng.random() < config.cut:
                place = int(rng.integers(frames // 5, frames - frames // 5 + 1))
                other = self._pick(int(rng.integers(len(self._library.rows))), rng)
                length = self._put(other, x[slot, place:], y[slot, place:], weight[slot, place:], rng)
                whole[slot] = length == frames - place
        fresh = ~(full & (rng.random(len(rows)) < config.carry))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        batch = Batch(
            torch.from_numpy(x).float(),
            torch.from_numpy(y).float(),
            torch.from_numpy(weight),
            torch.from_numpy(fresh),
        )
        return self._changed(batch, generator), whole

    def _pick(self, index: int, rng: np.random.Generator) -> Row:
        passes = self._library.rows[index]
        return passes[int(rng.integers(len(passes)))]

    def _put(self, row: Row, x: Half, y: Half, weight: Array, rng: np.random.Generator) -> int:
        """A random stretch of a row into [F, ...]; what is left over weighs nothing. -> frames put."""
        length = min(len(row.x), len(x))
        start = int(rng.integers(len(row.x) - length + 1))
        x[:length], y[:length] = row.x[start : start + length], row.y[start : start + length]
        x[length:], y[length:], weight[length:] = 0, 0, 0
        weight[:length] = self._ramp[:length]
        return length

    def _changed(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Loudness, tilt, noise, masks over time and paths, and blends with a neighbour."""
        config, x = self._config, batch.x
        slots, frames, width = x.shape
        levels = torch.randn(slots, 2, generator=generator) * torch.tensor([config.gain_db, config.tilt_db])
        x = x + (levels @ self._offsets)[:, None]
        if config.noise:
            sizes = torch.rand(slots, 1, 1, generator=generator) * config.noise
            x.addcmul_(torch.randn(x.shape, generator=generator), sizes)
        for slot in range(slots):
            for axis, masks, widest in (
                (0, config.time_masks, frames // 10),
                (1, config.path_masks, width // 12),
            ):
                for _ in range(masks):
                    size = int(torch.randint(0, max(widest, 1), (), generator=generator))
                    start = int(torch.randint(0, x.shape[axis + 1] - size, (), generator=generator))
                    x[slot].narrow(axis, start, size).zero_()
        blended = torch.rand(slots, 1, 1, generator=generator) < config.mixup
        own = torch.where(blended, 0.5 + 0.5 * torch.rand(slots, 1, 1, generator=generator), torch.ones(()))
        y = own * batch.y + (1 - own) * batch.y.roll(1, 0)
        x = own * x + (1 - own) * x.roll(1, 0)
        weight = torch.where(blended[:, :, 0], torch.minimum(batch.weight, batch.weight.roll(1, 0)), batch.weight)
        return Batch(x, y, weight, batch.fresh)


def level_offsets(std: Array, meta_order: NDArray[np.int64], octaves: Array) -> Array:
    """[2, P]: what +1 dB, and +1 dB per octave above 1 kHz, add to log-compressed, standardised features.

    meta_order [P]: 0, 1, 2; octaves [P]: of the path's first filter relative to 1 kHz. S2 is a ratio to S1:
    it stays.
    """
    nepers = np.float32(np.log(10.0) / 20.0) / std
    loud = np.where(meta_order < 2, nepers, 0.0)
    tilt = np.where(meta_order == 1, nepers * octaves, 0.0)
    return np.stack([loud, tilt]).astype(np.float32)
