"""What each frame should say: the teachers' mean, moved by the window targets, corrected by what is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.data.manifest import Array, Manifest
from trainer.features.augmentation import AudioAugmentation

KNOWN_TRUE = 0.9  # a true fact has at least this probability
KNOWN_FALSE = 0.03  # a false one at most this


def corrected(values: Array, facts: NDArray[np.int8]) -> Array:
    """Probabilities [..., C] with facts [C] or [..., C] put right."""
    raised = np.where(facts > 0, np.maximum(values, KNOWN_TRUE), values)
    return np.asarray(np.where(facts < 0, np.minimum(raised, KNOWN_FALSE), raised), dtype=np.float32)


def clip_targets(manifest: Manifest) -> Array:
    """[n, C]: the mean of the teachers for each clip, corrected by the facts."""
    return corrected(manifest.teachers.mean(axis=0), manifest.facts)


def at_times(manifest: Manifest, index: int, seconds: NDArray[np.floating], modulation: float) -> Array:
    """Targets of one clip at times [F] -> [F, C].

    The clip's mean plus `modulation` times what the windows around that time say beyond their own mean.
    """
    mean = manifest.teachers[:, index].mean(axis=0)
    values = np.repeat(mean[None], len(seconds), axis=0)
    windows = manifest.windows
    if windows is not None and modulation:
        tracks = windows.values[index]
        place = (seconds - windows.window_s / 2) / windows.hop_s
        place = np.clip(place, 0, len(tracks) - 1)
        low = np.minimum(place.astype(np.int64), max(len(tracks) - 2, 0))
        high = np.minimum(low + 1, len(tracks) - 1)
        share = (place - low).astype(np.float32)[:, None]
        here = (1 - share) * tracks[low] + share * tracks[high]
        values = np.clip(values + np.float32(modulation) * (here - tracks.mean(axis=0)), 0.0, 1.0)
    return corrected(values, manifest.facts[index])


def frame_targets(
    manifest: Manifest,
    index: int,
    recipe: AudioAugmentation,
    partner: int | None,
    frames: int,
    hop_s: float,
    modulation: float,
    lag_s: float,
) -> Array:
    """Targets [frames, C] of a clip that was changed by `recipe`; `partner`: index of the clip mixed in.

    Frame k of the changed clip heard its second start + speed·k·hop. A mixture gets the mean of the two
    clips' targets, weighted by their amplitudes, as in mixup.
    """
    heard = np.arange(frames) * hop_s
    values = at_times(manifest, index, recipe.start_s + recipe.speed * (heard - lag_s), modulation)
    if partner is not None:
        other = clip_targets_of(manifest, partner)
        values = np.asarray(recipe.share * values + (1 - recipe.share) * other, dtype=np.float32)
    return values


def clip_targets_of(manifest: Manifest, index: int) -> Array:
    """[C] of one clip."""
    return corrected(manifest.teachers[:, index].mean(axis=0), manifest.facts[index])


def frame_weights(frames: int, hop_s: float, ramp_s: float, ramp_from: float) -> Array:
    """[frames]: how much a frame counts, rising from `ramp_from` to 1 over the first `ramp_s` seconds
    heard."""
    heard = np.arange(frames) * hop_s
    rise = np.clip(heard / ramp_s, 0.0, 1.0) if ramp_s else np.ones(frames)
    return np.asarray(ramp_from + (1 - ramp_from) * rise, dtype=np.float32)
