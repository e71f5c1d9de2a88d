"""A sound file that is replaced under the same name is noticed, and what was computed from it is computed anew."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamtag.errors import ManifestError
from tests.trainer.conftest import contents
from trainer.data.manifest import Manifest
from trainer.features.audio import encode
from trainer.features.cache import Cache
from trainer.features.extraction import prepare

CLIPS = 12


@pytest.fixture
def copied(manifest: Manifest, tmp_path: Path) -> Manifest:
    """The first clips, with sounds that may be written to."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    clips = tuple(replace(clip, path=folder / clip.path.name) for clip in manifest.clips[:CLIPS])
    for clip, original in zip(clips, manifest.clips, strict=False):
        shutil.copyfile(original.path, clip.path)
    return replace(manifest, clips=clips)


def prepared(folder: Path, manifest: Manifest) -> tuple[Cache, int]:
    """Return the filled cache of one augmented pass, and how many clips and passes were computed for it."""
    cache = Cache(folder, manifest, "mel", 1)
    *_, (_, computed) = prepare(cache, 1, 0)
    return cache, computed


def replace_sound(path: Path) -> None:
    """Replace a sound by noise of the same name, size and length."""
    size, noise = path.stat().st_size, np.random.default_rng(1).normal(0, 0.1, 48000).astype(np.float32)
    encode(noise, 16000, "mp3", 32000, path)
    assert path.stat().st_size == size


def partners(cache: Cache) -> Iterator[tuple[int, int]]:
    """Yield the positions of clips and their partners in the augmented pass."""
    for position, clip_id in enumerate(cache.training):
        if partner := cache.augmentation(1, clip_id).partner:
            yield position, cache.index[partner]


def test_frames_of_a_replaced_sound_are_refused_and_computed_anew(copied: Manifest, tmp_path: Path) -> None:
    cache, computed = prepared(tmp_path / "a", copied)
    assert computed == 2 * CLIPS
    before = contents(cache)
    mixed, partner = next((i, p) for i, p in partners(cache) if i < p)
    replace_sound(copied.clips[partner].path)
    opened = Cache(tmp_path / "a", copied, "mel", 1)
    with pytest.raises(ManifestError, match=rf"{copied.clips[partner].path}: its sound is not the one .* prepare"):
        opened.read(0, copied.clips[0].clip_id)
    again, computed = prepared(tmp_path / "a", copied)
    assert computed == (CLIPS - partner) + (CLIPS - min(mixed, partner)), "only what follows the first use"
    assert contents(again) == contents(prepared(tmp_path / "b", copied)[0])
    assert contents(again) != before
    assert again.read(0, copied.clips[partner].clip_id).shape == (188, 96)


def test_a_touched_sound_is_not_computed_anew(copied: Manifest, tmp_path: Path) -> None:
    cache, _ = prepared(tmp_path / "a", copied)
    before = contents(cache)
    for clip in copied.clips:
        os.utime(clip.path, ns=(0, 12345))
    assert not Cache(tmp_path / "a", copied, "mel", 1).changed
    again, computed = prepared(tmp_path / "a", copied)
    assert computed == 0
    after = contents(again)
    assert {name for name in after if after[name] != before[name]} == {"pass-00.csv"}
    assert {entry.fingerprint.split("-")[1] for entry in again.store(0).entries()} == {"12345"}


def test_a_repaired_sound_is_read_again(copied: Manifest, tmp_path: Path) -> None:
    broken = copied.clips[5].path
    whole = broken.read_bytes()
    broken.write_bytes(b"")
    cache, _ = prepared(tmp_path / "a", copied)
    assert list(cache.dropped) == [copied.clips[5].clip_id]
    broken.write_bytes(whole)
    again, _ = prepared(tmp_path / "a", copied)
    assert again.dropped == {}
    assert contents(again) == contents(prepared(tmp_path / "b", copied)[0])


def test_caches_without_fingerprints_stay_valid(copied: Manifest, tmp_path: Path) -> None:
    cache, _ = prepared(tmp_path / "a", copied)
    frames = cache.read(1, copied.clips[3].clip_id)
    for number in (0, 1):
        index = cache.store(number).index_path
        index.write_text("".join(line.rpartition(",")[0] + "\n" for line in index.read_text().splitlines()))
    again, computed = prepared(tmp_path / "a", copied)
    assert computed == 0
    np.testing.assert_array_equal(again.read(1, copied.clips[3].clip_id), frames)
