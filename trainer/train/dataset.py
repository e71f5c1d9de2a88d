"""The clips of a split with their targets, and stretches of their frames where they are needed.

Frames stay in the cache's files, mapped into memory and not standardised; on a GPU they are copied there once if they
fit, so that a step brings nothing but numbers of frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamtag.errors import ManifestError
from trainer import targets
from trainer.data.manifest import Array
from trainer.features.cache import Cache
from trainer.train.config import TrainConfig

Half = NDArray[np.float16]
RESIDENT_SHARE = 0.6  # of a GPU's free memory that frames may take


@dataclass(frozen=True, eq=False)  # a row is itself
class Row:
    """One clip in one pass: `frames` rows of source `source` from `first` on. y [frames, C], or [1, C] if constant."""

    source: int
    first: int
    frames: int
    y: Half


@dataclass(frozen=True)
class FeatureDataset:
    """sources: frames [R, P] of each pass, times `scale`. rows[i][p]: clip i of the split in pass p (0: as it is)."""

    sources: tuple[Half, ...]
    scale: float
    rows: tuple[tuple[Row, ...], ...]

    def mean_targets(self) -> Array:
        """[C]: over the clips as they are."""
        mean: Array = np.mean([passes[0].y.mean(axis=0, dtype=np.float32) for passes in self.rows], axis=0)
        return mean


def load(cache: Cache, clips: NDArray[np.int64], passes: Sequence[int], config: TrainConfig) -> FeatureDataset:
    """Clips of the cache's manifest. Raises ManifestError if one has no frames."""
    sources = tuple(cache.frames(passage).values for passage in passes)
    rows = tuple(
        tuple(_row(cache, int(i), source, passage, config) for source, passage in enumerate(passes)) for i in clips
    )
    return FeatureDataset(sources, cache.front.scale, rows)


def _row(cache: Cache, index: int, source: int, passage: int, config: TrainConfig) -> Row:
    manifest = cache.manifest
    clip_id = manifest.clips[index].clip_id
    first, end = cache.frames(passage).spans.get(clip_id, (0, 0))
    if first == end:
        raise ManifestError(f"{cache.folder}: no frames of clip {clip_id} in pass {passage}: run prepare first")
    if manifest.windows is None and passage == 0:  # nothing changes over time
        y = targets.clip_targets_of(manifest, index)[None]
    else:
        recipe = cache.recipe(passage, clip_id)
        partner = cache.index[recipe.partner] if recipe.partner else None
        hop_s = cache.front.hop_s
        y = targets.frame_targets(manifest, index, recipe, partner, end - first, hop_s, config.modulation, config.lag_s)
    return Row(source, first, end - first, y.astype(np.float16))


@dataclass(frozen=True)
class Segment:
    """`count` frames of a row from its frame `at` on, to be heard by a slot at its frame `place`."""

    slot: int
    place: int
    row: Row
    at: int
    count: int


class Frames:
    """Takes stretches of a library's frames to a device. keep: copy all there at once; None: on a GPU, if they fit."""

    def __init__(self, library: FeatureDataset, device: torch.device, keep: bool | None = None) -> None:
        self._library, self._device = library, device
        self._starts = np.cumsum([0, *(len(source) for source in library.sources)])
        size = sum(source.nbytes for source in library.sources)
        if keep is None:
            keep = device.type == "cuda" and size < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        self.resident = self._copied() if keep else None

    def _copied(self) -> Tensor:
        sources = self._library.sources
        whole = torch.empty(int(self._starts[-1]), sources[0].shape[1], dtype=torch.float16, device=self._device)
        for source, start in zip(sources, self._starts, strict=False):
            for at in range(0, len(source), 1 << 16):
                part = np.array(source[at : at + (1 << 16)])
                whole[start + at : start + at + len(part)] = torch.from_numpy(part).to(self._device)
        return whole

    def take(self, pieces: Sequence[Segment], slots: int, frames: int) -> tuple[Tensor, Tensor]:
        """-> x [slots, frames, P] as features are, and [slots, frames, 1]: 1 where there are some, else 0."""
        index = np.full((slots, frames), -1, dtype=np.int64)
        for piece in pieces:
            start = self._starts[piece.row.source] + piece.row.first + piece.at
            index[piece.slot, piece.place : piece.place + piece.count] = np.arange(start, start + piece.count)
        known = torch.from_numpy(index >= 0)[:, :, None].to(self._device)
        if self.resident is not None:
            x = self.resident[torch.from_numpy(index.clip(min=0)).to(self._device)]
        else:
            x = self._gathered(pieces, slots, frames).to(self._device, non_blocking=True)
        return x.float() / self._library.scale, known

    def _gathered(self, pieces: Sequence[Segment], slots: int, frames: int) -> Tensor:
        sources = self._library.sources
        x = np.zeros((slots, frames, sources[0].shape[1]), dtype=np.float16)
        for piece in pieces:
            first = piece.row.first + piece.at
            x[piece.slot, piece.place : piece.place + piece.count] = sources[piece.row.source][
                first : first + piece.count
            ]
        return torch.from_numpy(x)

    def clips(self, at_once: int) -> Iterator[tuple[list[int], Tensor]]:
        """Whole clips of pass 0, equally long ones together: their numbers [n] and x [n, F, P]."""
        by_length: dict[int, list[int]] = {}
        for number, passes in enumerate(self._library.rows):
            by_length.setdefault(passes[0].frames, []).append(number)
        for frames, numbers in sorted(by_length.items()):
            for start in range(0, len(numbers), at_once):
                part = numbers[start : start + at_once]
                rows = [self._library.rows[number][0] for number in part]
                pieces = [Segment(slot, 0, row, 0, frames) for slot, row in enumerate(rows)]
                yield part, self.take(pieces, len(part), frames)[0]
