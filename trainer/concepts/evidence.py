"""What is known of concepts: probabilities of clips frame by frame, with labels between 0 and 1.

Teachers label the frames of validation clips with the probability that any tag of a concept applies. People label whole
tracks: a concept is present if any annotated clip of the track carries one of its tags. Absence is weaker evidence, and
counts as much as it is probable that n annotators would not have missed it, 1 - (1 - RECALL)^n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamtag.inference.events import EventDetectorBank
from streamtag.model import ConceptMap
from streamtag.spec import ConceptSpec
from trainer import targets
from trainer.concepts.table import human_columns
from trainer.data.manifest import Array, Manifest
from trainer.evaluate.predictions import Predictions
from trainer.evaluate.stream_inference import Indices
from trainer.human.tracks import TrackFolder

# An annotated clip of a track with a tag carries it with this probability: the median over 13 frequent tags, fitted to
# 132 tracks as a binomial distribution without zero (0.15 for "no vocals" to 0.5 for "classical").
RECALL = 0.3
RENDERED = "rendered"  # the kind of clips that are no evidence about music that people play


@dataclass(frozen=True)
class Evidence:
    """Clips with labels. `frames` are each clip's probabilities of tags [F, C], `labels` those of concepts [F, K].

    `weights` [n, K] is what each clip counts; its frames share it. Frames are `hop_s` apart.
    """

    frames: tuple[Array, ...]
    labels: tuple[Array, ...]
    weights: Array
    artists: tuple[str, ...]
    hop_s: float

    def __len__(self) -> int:
        return len(self.frames)

    def frame_weights(self, concept: int) -> Array:
        """Return the weights of all frames [sum of F] for a concept."""
        return np.concatenate(
            [np.full(len(f), w[concept] / len(f), np.float32) for f, w in zip(self.frames, self.weights, strict=True)]
        )

    def clip_labels(self) -> Array:
        """Return the mean label of each clip [n, K]."""
        return np.array([label.mean(axis=0) for label in self.labels])


def from_teachers(
    predictions: Predictions,
    manifest: Manifest,
    clips: Indices,
    concepts: Sequence[ConceptSpec],
    modulation: float,
    lag_s: float,
) -> Evidence | None:
    """Return the evidence of predictions for clips of a data set, without rendered ones; None if nothing is left.

    Labels are the targets that frames are trained with: see `targets.targets_at`.
    """
    union = ConceptMap(manifest.tags, concepts)
    hop_s = float(predictions.input_s[1] - predictions.input_s[0]) if len(predictions.input_s) > 1 else 1.0
    kept = [row for row, clip in enumerate(clips) if manifest.clips[clip].kind != RENDERED]
    if not kept:
        return None
    frames = tuple(predictions.frames[row, : predictions.count[row]] for row in kept)
    labels = tuple(
        union(targets.targets_at(manifest, int(clips[row]), np.arange(len(part)) * hop_s - lag_s, modulation))
        for row, part in zip(kept, frames, strict=True)
    )
    named = [manifest.clips[clips[row]] for row in kept]
    artists = tuple(clip.artist or clip.clip_id for clip in named)
    return Evidence(frames, labels, np.ones((len(kept), len(concepts)), np.float32), artists, hop_s)


def from_people(predictions: Predictions, folder: TrackFolder, concepts: Sequence[ConceptSpec]) -> Evidence:
    """Return the evidence of predictions for tracks, all of which have human tags."""
    present, weights = track_labels(folder, concepts)
    frames = tuple(row[:count] for row, count in zip(predictions.frames, predictions.count, strict=True))
    labels = tuple(np.repeat(row[None], len(part), axis=0) for row, part in zip(present, frames, strict=True))
    hop_s = float(predictions.input_s[1] - predictions.input_s[0])
    return Evidence(frames, labels, weights, tuple(folder.artists), hop_s)


def track_labels(folder: TrackFolder, concepts: Sequence[ConceptSpec]) -> tuple[Array, Array]:
    """Return which concepts are present in each track, 0 or 1 [n, K], and how much each of these labels counts [n, K].

    All tracks have human tags. Concepts that no human tag is about count 0.
    """
    present = np.zeros((len(folder), len(concepts)), np.float32)
    known = np.zeros(len(concepts), np.float32)
    for k, concept in enumerate(concepts):
        if columns := human_columns(concept, folder.tags):
            present[:, k], known[k] = (folder.counts[:, columns] > 0).any(axis=1), 1.0
    clips = np.array([track.clips for track in folder.tracks])
    absence = 1 - (1 - RECALL) ** clips[:, None]
    return present, (np.where(present > 0, 1.0, absence) * known).astype(np.float32)


def smoothed(clips: Sequence[Array], hop_s: float) -> list[Array]:
    """Return probabilities of clips [F, K] smoothed over time as the product's events smooth them."""
    size = clips[0].shape[1]
    bank = EventDetectorBank((), [str(k) for k in range(size)], [None] * size, len(clips))
    rows = np.array([bank.add() for _ in clips])
    result = [np.empty_like(clip) for clip in clips]
    for frame in range(max(len(clip) for clip in clips)):
        active = [index for index, clip in enumerate(clips) if frame < len(clip)]
        probs = np.stack([clips[index][frame] for index in active])
        bank.feed(rows[active], probs[:, :0], probs, np.full(len(active), frame * hop_s))
        for index in active:
            result[index][frame] = bank.export_state(int(rows[index])).smooth
    return result
