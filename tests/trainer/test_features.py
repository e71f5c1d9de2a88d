"""The feature cache: what it holds, that it goes on after a kill, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamtag.core import Scattering
from streamtag.errors import ManifestError, SourceError
from streamtag.spec import ScatteringSpec
from trainer import augment
from trainer.audio import decode
from trainer.features import Cache, prepare
from trainer.manifest import Manifest

SPEC = ScatteringSpec()


def contents(cache: Cache) -> dict[str, bytes]:
    return {str(p.relative_to(cache.root)): p.read_bytes() for p in cache.root.rglob("*") if p.is_file()}


def drain(progress: Iterable[tuple[int, int]]) -> tuple[int, int]:
    return list(progress)[-1]


def few(manifest: Manifest, clips: int = 4) -> Manifest:
    """A manifest of the first clips only."""
    return replace(manifest, clips=manifest.clips[:clips])


def test_frames_are_those_of_core(cache: Cache, manifest: Manifest) -> None:
    clip = manifest.clips[0]
    samples = decode(clip.path, SPEC.sample_rate)
    expected = Scattering(SPEC).eval()(torch.from_numpy(samples)[None])[0].numpy()
    stored = cache.read(0, clip.clip_id)
    assert stored.shape == (SPEC.frame_count(len(samples)), 374)
    np.testing.assert_allclose(stored, expected, rtol=1e-3, atol=1e-8)


def test_only_training_clips_are_augmented(cache: Cache, manifest: Manifest) -> None:
    assert cache.passes() == 1
    for clip in manifest.clips:
        assert cache.path(0, clip.clip_id).exists()
        assert cache.path(1, clip.clip_id).exists() == (clip.split == "train")
    name = manifest.clips[0].clip_id
    assert cache.recipe(0, name) == augment.Recipe()
    recipe = cache.recipe(1, name)
    samples = len(decode(manifest.clips[0].path, SPEC.sample_rate))
    heard = (samples - recipe.start_s * SPEC.sample_rate) / recipe.speed
    assert abs(len(cache.read(1, name)) - heard / SPEC.hop) <= 1


def test_goes_on_after_a_kill_with_the_same_bytes(manifest: Manifest, tmp_path: Path) -> None:
    part = few(manifest)
    whole, killed = Cache(tmp_path / "a", part, SPEC, 1), Cache(tmp_path / "b", part, SPEC, 1)
    assert drain(prepare(whole, 1, 0)) == (8, 8)
    running = prepare(killed, 1, 0)
    for _ in range(3):
        next(running)
    running.close()
    assert drain(prepare(Cache(tmp_path / "b", part, SPEC, 1), 1, 0)) == (4, 4)  # two clips were done
    assert contents(killed) == contents(whole)
    assert drain(prepare(killed, 1, 0)) == (0, 0)


def test_processes_make_the_same(manifest: Manifest, tmp_path: Path) -> None:
    part = few(manifest, 2)
    one, two = Cache(tmp_path / "a", part, SPEC, 1), Cache(tmp_path / "b", part, SPEC, 1)
    drain(prepare(one, 1, 1))
    drain(prepare(two, 1, 2))
    assert len(contents(two)) == 5
    assert contents(one) == contents(two)


def test_other_settings_are_refused_by_name(cache: Cache, manifest: Manifest, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(cache.root, copy)
    Cache(copy, manifest, SPEC, 1)
    with pytest.raises(ManifestError, match="made with seed = 1, not 2"):
        Cache(copy, manifest, SPEC, 2)
    with pytest.raises(ManifestError, match="made with clips"):
        Cache(copy, few(manifest), SPEC, 1)
    settings = json.loads((copy / "settings.json").read_text())
    for name, value in (("augmentation", 0), ("scattering", {"J": 9})):
        (copy / "settings.json").write_text(json.dumps({**settings, name: value}))
        with pytest.raises(ManifestError, match=f"made with {name}"):
            Cache(copy, manifest, SPEC, 1)


@pytest.mark.parametrize("spoiled", [b"", b"\x93NUMPY", b"no array"])
def test_damaged_and_missing_frames(manifest: Manifest, tmp_path: Path, spoiled: bytes) -> None:
    empty = Cache(tmp_path, manifest, SPEC, 1)
    name = manifest.clips[0].clip_id
    with pytest.raises(ManifestError, match="prepare"):
        empty.read(0, name)
    empty.path(0, name).parent.mkdir()
    empty.path(0, name).write_bytes(spoiled)
    with pytest.raises(ManifestError, match="prepare"):
        empty.read(0, name)


def test_bad_sound_is_named(manifest: Manifest, tmp_path: Path) -> None:
    bad = tmp_path / "clip-000.mp3"
    bad.write_text("not a sound")
    clips = (replace(manifest.clips[0], path=bad), *manifest.clips[1:2])
    with pytest.raises(SourceError, match="clip clip-000"):
        drain(prepare(Cache(tmp_path / "c", replace(manifest, clips=clips), SPEC, 1), 0, 0))
