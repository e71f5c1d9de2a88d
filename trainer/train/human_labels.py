"""Human tags of tracks as labels of the clips that were cut from them.

People label tracks, not seconds: a concept is present in a track if an annotated clip of it carries one of the
concept's tags, and then sounds in some of the frames, not in all. So the loss compares the label with one probability
per clip, the mean over the frames weighted by the probabilities themselves (the "linear softmax" of Wang, Li and Metze
2019, "A comparison of five multiple instance learning pooling functions for sound event detection"): what raises it
are the frames in which the network already finds the concept. Absence counts less than presence, as in
`concepts.evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from trainer.concepts.evidence import track_labels
from trainer.concepts.table import concepts_of
from trainer.data.manifest import Array, Clip
from trainer.human.tracks import TrackFolder

MIN_PROBABILITY = 1e-5


@dataclass(frozen=True, eq=False)
class ClipLabels:
    """What people said about the track of a clip: `present` [K], 0 or 1, and how much each of them counts [K]."""

    present: Array
    weights: Array


@dataclass(frozen=True)
class SlotLabels:
    """Labels of the slots of a step: `present` and `weights` [N, K], and the `frames` [N, F] that they describe."""

    present: Tensor
    weights: Tensor
    frames: Tensor


@dataclass(frozen=True)
class HumanLabels:
    """The labels of the annotated clips, by name. `members` [C, K] is 1 where a tag belongs to a concept."""

    members: Array
    by_clip: Mapping[str, ClipLabels]


NO_LABELS = HumanLabels(np.zeros((0, 0), np.float32), MappingProxyType({}))


def read_labels(folder: TrackFolder, clips: Sequence[Clip], tags: Sequence[str]) -> HumanLabels:
    """Return the labels of the clips that were cut from tracks of the folder; mixtures have none."""
    folder = folder.tagged()
    concepts = concepts_of(tags)
    present, weights = track_labels(folder, concepts)
    prefix = folder.root.resolve().name + "."  # as `label` names the recordings of a folder
    tracks = {
        prefix + track.track_id: ClipLabels(*rows) for track, *rows in zip(folder.tracks, present, weights, strict=True)
    }
    by_clip = {
        clip.clip_id: tracks[clip.recording] for clip in clips if clip.recording in tracks and not clip.mixed_artist
    }
    members = np.array([[tag in concept.tags for concept in concepts] for tag in tags], dtype=np.float32)
    return HumanLabels(members, by_clip)


def human_loss(logits: Tensor, labels: SlotLabels, members: Tensor) -> Tensor:
    """Return the cross-entropy of clips against human labels, the mean over all slots and concepts.

    logits [N, F, C], or [N, 1, C] of whole clips; a concept is present if any of its tags is: members [C, K].
    """
    frames = labels.frames if logits.shape[1] > 1 else labels.frames.amax(1, keepdim=True)
    probability = 1.0 - torch.exp(-nn.functional.softplus(logits) @ members)
    weighted = probability * frames[:, :, None]
    pooled = (weighted * probability).sum(1) / weighted.sum(1).clamp(min=MIN_PROBABILITY)
    pooled = pooled.clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return (labels.weights * nn.functional.binary_cross_entropy(pooled, labels.present, reduction="none")).mean()
