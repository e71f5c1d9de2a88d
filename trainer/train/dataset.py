"""The clips of a split with their targets, as rows of the feature cache's memory-mapped files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import ManifestError, SpecError
from streamtag.model.normalization import Normalizer
from trainer import targets
from trainer.data.manifest import TRAIN, VALID, Array, Manifest
from trainer.evaluate import metrics
from trainer.evaluate.predictions import EARLY_S, frames_after
from trainer.features.augmentation import AudioAugmentation
from trainer.features.cache import Pass
from trainer.features.frame_store import Half
from trainer.features.frontends import Frontend, fit, level_offsets, normalizer
from trainer.human.tracks import TrackFolder
from trainer.run import TrainedSystem
from trainer.train.config import TrainConfig
from trainer.train.human_labels import NO_LABELS, ClipLabels, read_labels


class FeatureSource(Protocol):
    """Where features come from: a `features.cache.Cache`, whose attributes and methods these are, or a packed file."""

    manifest: Manifest
    front: Frontend
    folder: Path
    index: dict[str, int]

    def frames(self, number: int) -> Pass: ...

    def read(self, number: int, clip_id: str) -> NDArray[np.float32]: ...

    def augmentation(self, number: int, clip_id: str) -> AudioAugmentation: ...

    def complete_passes(self) -> int: ...


@dataclass(frozen=True, eq=False)  # rows are compared by identity
class Row:
    """One clip in one pass: `frames` rows of a source, from `first` on. `y` is [frames, C], or [1, C] if constant.

    `human` is what people said about it, if they did.
    """

    source: int
    first: int
    frames: int
    y: Half
    human: ClipLabels | None = None


@dataclass(frozen=True)
class Segment:
    """`count` frames of a row, from its frame `start` on, for the frames from `position` on of one slot."""

    slot: int
    position: int
    row: Row
    start: int
    count: int


@dataclass(frozen=True)
class FeatureDataset:
    """The features and targets of a split.

    `sources` are the frames [R, P] of each pass, times `scale`. `rows[i]` is clip i unchanged, then in other passes.
    """

    sources: tuple[Half, ...]
    scale: float
    rows: tuple[tuple[Row, ...], ...]

    def mean_targets(self) -> Array:
        """Return [C], the mean over the unchanged clips."""
        mean: Array = np.mean([passes[0].y.mean(axis=0, dtype=np.float32) for passes in self.rows], axis=0)
        return mean


@dataclass(frozen=True)
class TrainingData:
    """Everything that a run learns from and is validated with.

    `targets` [n, C] are those of the validation clips; a tag is scored if `min_clips` of them have it and as many have
    not. `normalize` is fitted to the unchanged training clips, or that of the weights the run begins with.
    `offsets` [2, P]: what a decibel of loudness, and of tilt per octave, adds to the features.
    `members` [C, K]: 1 where a tag belongs to a concept with human labels; K is 0 without them.
    """

    training: FeatureDataset
    valid: FeatureDataset
    tags: tuple[str, ...]
    targets: Array
    min_clips: int
    hop_s: float
    lookahead_s: float
    normalize: Normalizer
    offsets: Array
    members: Array = field(default_factory=lambda: NO_LABELS.members)

    @property
    def early_frames(self) -> int:
        """Return the number of frames by which a clip is scored early."""
        return max(1, frames_after(EARLY_S, self.hop_s, self.lookahead_s))


def load_data(
    cache: FeatureSource,
    config: TrainConfig,
    passes: int,
    on_clip: Callable[[], None],
    start: TrainedSystem | None = None,
    left_out: Collection[str] = (),
    tracks: TrackFolder | None = None,
) -> TrainingData:
    """Read the cache with `passes` augmented passes; `on_clip` is called for each training clip.

    The normalization is that of `start`, if given: its weights know no other. Nothing is learned from the artists in
    `left_out`, whose clips are neither trained with, nor mixed into others, nor validated with. The human tags of
    `tracks` label the training clips that were cut from them.
    Raises ManifestError if clips or frames are missing, no validation score can be computed, or no clip is labelled;
    SpecError if there are tracks but no `human_loss`, or the other way round.
    """
    manifest = cache.manifest
    if (tracks is None) != (config.human_loss == 0):
        raise SpecError("human tags need both --tracks and a human_loss above 0")
    human = read_labels(tracks, manifest.clips, manifest.tags) if tracks else NO_LABELS
    if tracks and not human.by_clip:
        raise ManifestError(f"{manifest.root}: no clip was cut from a track of {tracks.root} with human tags")
    training = _clips_of(manifest, TRAIN, left_out)
    validation = _clips_of(manifest, VALID, left_out, config.valid_kind)
    valid_targets, min_clips = _validation_targets(manifest, validation)
    dataset = load_dataset(cache, training, range(passes + 1), config, left_out, human.by_clip)
    valid = load_dataset(cache, validation, (0,), config)
    normalize = start.normalize if start else _fitted(cache, training, config, on_clip)
    offsets = level_offsets(cache.front, normalize.std.numpy(), config.normalization)
    hop_s, lookahead_s = cache.front.hop_s, cache.front.lookahead_s
    return TrainingData(
        dataset, valid, manifest.tags, valid_targets, min_clips, hop_s, lookahead_s, normalize, offsets, human.members
    )


def _validation_targets(manifest: Manifest, clips: NDArray[np.int64]) -> tuple[Array, int]:
    """Return the targets [n, C] of the clips and how many with and without a tag its score needs.

    Raises ManifestError if no tag has a score: the best epoch could not be chosen.
    """
    every = targets.clip_targets(manifest)
    found, needed = every[clips], metrics.min_clips_of(every)
    if not metrics.scorable(found, needed).any():
        each = "a clip" if needed == 1 else f"{needed} clips"
        raise ManifestError(
            f"{manifest.root}: no tag has {each} with it and {each} without it in split {VALID!r}: the best epoch could"
            " not be chosen"
        )
    return found, needed


def _fitted(
    cache: FeatureSource, clips: NDArray[np.int64], config: TrainConfig, on_clip: Callable[[], None]
) -> Normalizer:
    """Return the normalization fitted to the unchanged clips."""
    normalize = normalizer(cache.front.name, config.normalization)

    def read() -> Iterator[Array]:
        for index in clips:
            yield cache.read(0, cache.manifest.clips[index].clip_id)[: config.max_frames]
            on_clip()

    fit(normalize, read())
    return normalize


def _clips_of(manifest: Manifest, split: str, left_out: Collection[str], kind: str = "") -> NDArray[np.int64]:
    """Return the clips of a split that are not by an artist in `left_out`, and of the kind if one is given."""
    of_kind = [i for i in manifest.split(split) if kind in ("", manifest.clips[i].kind)]
    if not of_kind:
        raise ManifestError(f"{manifest.root}: no clip in split {split!r} is of the kind {kind!r}")
    kept = [i for i in of_kind if not manifest.clips[i].is_by(left_out)]
    if not kept:
        raise ManifestError(f"{manifest.root}: no clip in split {split!r} is left without the artists to leave out")
    return np.array(kept, dtype=np.int64)


def load_dataset(
    cache: FeatureSource,
    clips: NDArray[np.int64],
    passes: Sequence[int],
    config: TrainConfig,
    left_out: Collection[str] = (),
    human: Mapping[str, ClipLabels] = MappingProxyType({}),
) -> FeatureDataset:
    """Return clips of the cache's manifest, without passes that mix in a clip of an artist in `left_out`.

    `human` has the labels of clips that people annotated; a mixture with another clip has none.

    Raises ManifestError if a clip has no frames.
    """
    manifest = cache.manifest
    banned = {clip.clip_id for clip in manifest.clips if clip.is_by(left_out)}
    sources = tuple(cache.frames(number).values for number in passes)
    rows = tuple(
        tuple(
            _row(cache, int(i), source, number, config, human)
            for source, number in enumerate(passes)
            if not banned or cache.augmentation(number, manifest.clips[i].clip_id).partner not in banned
        )
        for i in clips
    )
    return FeatureDataset(sources, cache.front.scale, rows)


def _row(
    cache: FeatureSource, index: int, source: int, number: int, config: TrainConfig, human: Mapping[str, ClipLabels]
) -> Row:
    manifest = cache.manifest
    clip_id = manifest.clips[index].clip_id
    spans = cache.frames(number).spans
    first, end = spans.get(clip_id, (0, 0))
    if first == end:
        advice = f"remove {cache.folder} and run prepare again" if clip_id in spans else "run prepare first"
        raise ManifestError(f"{cache.folder}: no frames of clip {clip_id} in pass {number}: {advice}")
    count = min(end - first, config.max_frames or end - first)
    change = cache.augmentation(number, clip_id)
    partner = cache.index[change.partner] if change.partner else None
    varying = count if manifest.windows and config.modulation else 1  # constant targets are stored once
    hop_s = cache.front.hop_s
    y = targets.frame_targets(manifest, index, change, partner, varying, hop_s, config.modulation, config.lag_s)
    return Row(source, first, count, y.astype(np.float16), None if change.partner else human.get(clip_id))
