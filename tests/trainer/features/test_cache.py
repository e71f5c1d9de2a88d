"""The feature cache: what it holds, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamtag.errors import ManifestError, SpecError
from streamtag.model import Scattering
from streamtag.spec import ScatteringSpec
from trainer.data.manifest import Manifest
from trainer.features import augmentation
from trainer.features.audio import decode
from trainer.features.cache import Cache

SPEC = ScatteringSpec()


def test_frames_are_those_of_the_model(cache: Cache, manifest: Manifest) -> None:
    clip = manifest.clips[0]
    samples = decode(clip.path, SPEC.sample_rate)
    expected = Scattering(SPEC).eval()(torch.from_numpy(samples)[None])[0].numpy()
    stored = cache.read(0, clip.clip_id)
    assert stored.shape == (SPEC.frame_count(len(samples)), 374)
    np.testing.assert_allclose(stored, expected, rtol=1e-3, atol=1e-8)


def test_only_training_clips_are_augmented(cache: Cache, manifest: Manifest) -> None:
    assert cache.complete_passes() == 1
    names = {clip.clip_id for clip in manifest.clips}
    assert set(cache.frames(0).spans) == names
    assert set(cache.frames(1).spans) == {clip.clip_id for clip in manifest.clips if clip.split == "train"}
    name = manifest.clips[0].clip_id
    assert cache.augmentation(0, name) == augmentation.AudioAugmentation()
    change = cache.augmentation(1, name)
    samples = len(decode(manifest.clips[0].path, SPEC.sample_rate))
    expected_samples = (samples - change.start_s * SPEC.sample_rate) / change.speed
    assert abs(len(cache.read(1, name)) - expected_samples / SPEC.hop) <= 1


def test_other_settings_are_refused_by_name(cache: Cache, manifest: Manifest, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(cache.root, copy)
    Cache(copy, manifest, "scattering", 1)
    with pytest.raises(ManifestError, match="made with seed = 1, not 2"):
        Cache(copy, manifest, "scattering", 2)
    with pytest.raises(ManifestError, match="made with clips = 96, not 4"):
        Cache(copy, replace(manifest, clips=manifest.clips[:4]), "scattering", 1)
    with pytest.raises(ManifestError, match="made with names"):
        Cache(copy, replace(manifest, clips=manifest.clips[::-1]), "scattering", 1)
    file = copy / "scattering" / "settings.json"
    settings = json.loads(file.read_text())
    for changed, named in (
        ({"augmentation": 0}, "augmentation = 0"),
        ({"spec": {**settings["spec"], "J": 9}}, "spec.J = 9, not 10"),
        ({"later": 1}, "later = 1, not None"),
    ):
        file.write_text(json.dumps({**settings, **changed}))
        with pytest.raises(ManifestError, match=f"made with {named}"):
            Cache(copy, manifest, "scattering", 1)
    file.write_text("{")
    with pytest.raises(ManifestError, match=r"settings\.json: cannot be read"):
        Cache(copy, manifest, "scattering", 1)


def test_front_ends_keep_apart(cache: Cache, manifest: Manifest) -> None:
    mel = Cache(cache.root, manifest, "mel", 1)
    with pytest.raises(ManifestError, match=r"prepare .* --front mel"):
        mel.read(0, manifest.clips[0].clip_id)
    assert cache.read(0, manifest.clips[0].clip_id).shape[1] == cache.front.size == 374
    with pytest.raises(SpecError, match="no front end 'mfcc', only: scattering, mel, cqt"):
        Cache(cache.root, manifest, "mfcc", 1)


def test_missing_frames(cache: Cache, manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="prepare"):
        Cache(tmp_path, manifest, "scattering", 1).read(0, manifest.clips[0].clip_id)
    with pytest.raises(ManifestError, match="no cached frames"):
        cache.read(2, manifest.clips[0].clip_id)
    with pytest.raises(ManifestError, match="no frames of clip nobody"):
        cache.read(0, "nobody")
