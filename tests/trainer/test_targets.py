"""Frame targets: means, windows in time, facts, and what recipes do to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer import targets
from trainer.data.manifest import Clip, Manifest, WindowTargets
from trainer.features.augmentation import AudioAugmentation


def manifest(facts: list[list[int]] | None = None) -> Manifest:
    """Two clips, two tags, two teachers; in clip 0 the first tag comes on in the middle (window 9 of 18)."""
    teachers = np.array([[[0.4, 0.2], [0.0, 0.0]], [[0.6, 0.2], [1.0, 0.0]]], dtype=np.float32)
    values = np.zeros((2, 18, 2), dtype=np.float32)
    values[0, 9:, 0] = 1.0
    clips = tuple(Clip(name, "train", "all", Path(name)) for name in "ab")
    known = np.array(facts or [[0, 0], [0, 0]], dtype=np.int8)
    return Manifest(Path(), ("x", "y"), clips, teachers, WindowTargets(values, 3.0, 1.5), known)


def test_clip_targets_are_the_mean_corrected() -> None:
    np.testing.assert_allclose(targets.clip_targets(manifest()), [[0.5, 0.2], [0.5, 0.0]])
    np.testing.assert_allclose(targets.clip_targets(manifest([[1, -1], [-1, 1]])), [[0.9, 0.03], [0.03, 0.9]])


def test_facts_only_move_what_disagrees() -> None:
    values = np.array([0.95, 0.01, 0.5], dtype=np.float32)
    np.testing.assert_allclose(targets.apply_facts(values, np.array([1, -1, 0], dtype=np.int8)), values)


def test_windows_move_the_frames_around_the_mean() -> None:
    track = targets.targets_at(manifest(), 0, np.arange(0, 29, 0.256), 0.5)
    assert track[:50, 0] == pytest.approx(0.25)  # half of what the windows say beyond their mean of one half
    assert track[-40:, 0] == pytest.approx(0.75)
    assert track[:, 1] == pytest.approx(0.2)
    assert track[:, 0].mean() == pytest.approx(0.5, abs=0.03)
    flat = targets.targets_at(manifest(), 0, np.arange(0, 29, 0.256), 0.0)
    assert flat[:, 0] == pytest.approx(0.5)


def change(recipe: AudioAugmentation, partner: int | None = None, lag_s: float = 0.0) -> float:
    """The second at which the first tag of clip 0 comes on."""
    track = targets.frame_targets(manifest(), 0, recipe, partner, 114, 0.256, 0.5, lag_s)[:, 0]
    return float(np.argmax(track > track[[0, -1]].mean()) * 0.256)


def test_targets_follow_start_speed_and_lag() -> None:
    middle = change(AudioAugmentation())
    assert middle == pytest.approx(9 * 1.5 + 1.5 - 0.75, abs=0.3)  # halfway between two windows' centres
    assert change(AudioAugmentation(start_s=2.0)) == pytest.approx(middle - 2.0, abs=0.3)
    assert change(AudioAugmentation(speed=1.25)) == pytest.approx(middle / 1.25, abs=0.3)
    assert change(AudioAugmentation(), lag_s=1.0) == pytest.approx(middle + 1.0, abs=0.3)


def test_mixtures_share_by_amplitude() -> None:
    recipe = AudioAugmentation(partner="b", partner_db=0.0)
    mixed = targets.frame_targets(manifest(), 0, recipe, 1, 114, 0.256, 0.0, 0.0)
    np.testing.assert_allclose(mixed[0], [0.5, 0.1], atol=1e-6)


def test_early_frames_count_less() -> None:
    weights = targets.frame_weights(20, 0.256, 3.0, 0.2)
    assert weights[0] == pytest.approx(0.2)
    assert weights[12:] == pytest.approx(1.0, abs=0.02)
    assert (np.diff(weights) >= 0).all()
    assert targets.frame_weights(20, 0.256, 0.0, 0.2) == pytest.approx(1.0)
