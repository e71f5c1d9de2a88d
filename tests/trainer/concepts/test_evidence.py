"""Evidence for concepts: frames as the product smooths them, labels of teachers and of people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.synthetic_model import HOP_S, evaluated_model, set_without_sound
from trainer.concepts.evidence import RECALL, from_people, from_teachers, smoothed
from trainer.concepts.table import concepts_of
from trainer.evaluate.predictions import collect
from trainer.human.tracks import Track, TrackFolder

TAGS = ("rock", "vocals", "voice", "slow")


def test_labels_of_teachers_are_those_of_any_synonym() -> None:
    manifest = set_without_sound(30, TAGS)
    rng = np.random.default_rng(1)
    soft = rng.random((2, 30, 4)).astype(np.float32)
    kinds = ["rendered" if n < 9 else "real" for n in range(30)]
    clips = tuple(replace(clip, kind=kind) for clip, kind in zip(manifest.clips, kinds, strict=True))
    manifest = replace(manifest, teachers=soft, clips=clips)
    model = evaluated_model(set_without_sound(30, TAGS), 0.9, "leaky")
    valid = manifest.split("valid")
    predictions = model.collect(model.predict(valid))
    found = from_teachers(predictions, manifest, valid, concepts_of(TAGS), 0.5, 0.75)
    assert found is not None
    kept = [i for i in valid if i >= 9]
    assert 0 < len(found) == len(kept) < len(valid), "rendered clips are left out"
    mean = soft.mean(axis=0)
    for index, labels in zip(kept, found.labels, strict=True):
        rock, vocals, slow = labels[-1]
        assert (rock, slow) == (pytest.approx(mean[index, 0], abs=1e-4), pytest.approx(mean[index, 3], abs=1e-4))
        assert vocals == pytest.approx(1 - (1 - mean[index, 1]) * (1 - mean[index, 2]), abs=1e-4)
    assert found.hop_s == pytest.approx(HOP_S)
    assert found.frame_weights(0).sum() == pytest.approx(len(found)), "each clip counts once, however long"
    rendered = replace(manifest, clips=tuple(replace(clip, kind="rendered") for clip in manifest.clips))
    assert from_teachers(predictions, rendered, valid, concepts_of(TAGS), 0.5, 0.75) is None


def test_people_say_what_is_there_and_less_surely_what_is_not() -> None:
    tracks = tuple(Track(str(n), f"artist {n}", Path("none"), clips) for n, clips in enumerate((1, 4)))
    counts = np.array([[1, 0, 0], [0, 0, 2]])
    folder = TrackFolder(Path("nowhere"), ("rock", "vocal", "singer"), tracks, counts)
    tags = ("rock", "vocals", "vocal", "voice", "singing", "slow")
    frames = [np.full((length, 6), 0.5, np.float32) for length in (5, 9)]
    found = from_people(collect(frames, 0.256, 0.384, 0.256), folder, concepts_of(tags))
    assert [len(part) for part in found.frames] == [5, 9]
    np.testing.assert_array_equal(found.clip_labels(), [(1, 0, 0), (0, 1, 0)])
    one, four = 1 - (1 - RECALL), 1 - (1 - RECALL) ** 4
    np.testing.assert_allclose(found.weights, [(1, one, 0), (four, 1, 0)], rtol=1e-5)


def test_frames_are_smoothed_over_half_a_second_from_the_first_on() -> None:
    step = np.zeros((10, 1), np.float32)
    step[4:] = 1.0
    (early, short) = smoothed([step, step[:3]], 0.256)
    keep = np.exp(-0.256 / 0.5)
    np.testing.assert_allclose(early[:, 0], [0] * 4 + [1 - keep**n for n in range(1, 7)], rtol=1e-5)
    np.testing.assert_array_equal(short, 0)
    (constant,) = smoothed([np.full((4, 2), 0.7, np.float32)], 0.256)
    np.testing.assert_allclose(constant, 0.7, rtol=1e-6)
