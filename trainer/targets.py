"""Targets of each frame: the teachers' mean, modulated by the window targets, corrected by known facts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.data.manifest import Array, Manifest
from trainer.features.augmentation import AudioAugmentation

MIN_IF_TRUE = 0.9  # the least probability of a tag that is known to be true
MAX_IF_FALSE = 0.03  # the largest of one that is known to be false


def apply_facts(values: Array, facts: NDArray[np.int8]) -> Array:
    """Correct probabilities [..., C] by facts [C] or [..., C]."""
    raised = np.where(facts > 0, np.maximum(values, MIN_IF_TRUE), values)
    return np.asarray(np.where(facts < 0, np.minimum(raised, MAX_IF_FALSE), raised), dtype=np.float32)


def clip_targets(manifest: Manifest) -> Array:
    """Return [n, C]: the teachers' mean for each clip, corrected by the facts."""
    return apply_facts(manifest.teachers.mean(axis=0), manifest.facts)


def clip_target(manifest: Manifest, index: int) -> Array:
    """Return [C] of one clip."""
    return apply_facts(manifest.teachers[:, index].mean(axis=0), manifest.facts[index])


def targets_at(manifest: Manifest, index: int, seconds: NDArray[np.floating], modulation: float) -> Array:
    """Return the targets of one clip at times [F] -> [F, C].

    This is the clip's mean plus `modulation` times the difference between the windows around a time and their mean.
    """
    mean = manifest.teachers[:, index].mean(axis=0)
    values = np.repeat(mean[None], len(seconds), axis=0)
    windows = manifest.windows
    if windows is not None and modulation:
        tracks = windows.values[index]
        position = np.clip((seconds - windows.window_s / 2) / windows.hop_s, 0, len(tracks) - 1)
        low = np.minimum(position.astype(np.int64), max(len(tracks) - 2, 0))
        high = np.minimum(low + 1, len(tracks) - 1)
        share = (position - low).astype(np.float32)[:, None]
        interpolated = (1 - share) * tracks[low] + share * tracks[high]
        values = np.clip(values + np.float32(modulation) * (interpolated - tracks.mean(axis=0)), 0.0, 1.0)
    return apply_facts(values, manifest.facts[index])


def frame_targets(
    manifest: Manifest,
    index: int,
    augmentation: AudioAugmentation,
    partner: int | None,
    frames: int,
    hop_s: float,
    modulation: float,
    lag_s: float,
) -> Array:
    """Return the targets [frames, C] of an augmented clip; `partner` is the index of the clip that is mixed in.

    Frame k of the augmented clip is at second start + speed·k·hop of the original. A mixture gets the mean of both
    clips' targets, weighted by their amplitudes, as in mixup.
    """
    times = np.arange(frames) * hop_s
    values = targets_at(manifest, index, augmentation.start_s + augmentation.speed * (times - lag_s), modulation)
    if partner is not None:
        other = clip_target(manifest, partner)
        values = np.asarray(augmentation.share * values + (1 - augmentation.share) * other, dtype=np.float32)
    return values


def frame_weights(frames: int, hop_s: float, ramp_s: float, ramp_from: float) -> Array:
    """Return the weights [frames] of a clip's frames, which rise from `ramp_from` to 1 over its first `ramp_s`."""
    times = np.arange(frames) * hop_s
    rise = np.clip(times / ramp_s, 0.0, 1.0) if ramp_s else np.ones(frames)
    return np.asarray(ramp_from + (1 - ramp_from) * rise, dtype=np.float32)
