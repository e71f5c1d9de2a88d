"""Artists that are left out: nothing of their music reaches training or validation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamtag.errors import ManifestError
from trainer.features.cache import Cache
from trainer.train.config import TrainConfig
from trainer.train.dataset import load_data


@pytest.fixture(scope="module")
def by_artist(cache: Cache) -> Cache:
    """The same features, the clips by eight artists."""
    clips = tuple(replace(clip, artist=f"artist {n % 8}") for n, clip in enumerate(cache.full_manifest.clips))
    return Cache(cache.root, replace(cache.full_manifest, clips=clips), "scattering", seed=1)


def test_clips_and_mixtures_of_an_artist_are_left_out(by_artist: Cache, small: TrainConfig) -> None:
    manifest = by_artist.manifest
    artist_of = {clip.clip_id: clip.artist for clip in manifest.clips}
    everything = load_data(by_artist, small, 1, lambda: None)
    assert (len(everything.training.rows), len(everything.valid.rows)) == (64, 32)
    assert all(len(passes) == 2 for passes in everything.training.rows)
    left_out = {"artist 2", "artist 5"}
    read: list[int] = []
    data = load_data(by_artist, small, 1, lambda: read.append(1), left_out=left_out)
    kept = [clip for clip in manifest.clips if clip.artist not in left_out and clip.split == "train"]
    assert len(data.training.rows) == len(kept) == len(read) == 48
    assert len(data.valid.rows) == len(data.targets) == 24
    mixed = 0
    for clip, passes in zip(kept, data.training.rows, strict=True):
        partner = by_artist.augmentation(1, clip.clip_id).partner
        is_mixed = partner is not None and artist_of[partner] in left_out
        assert [row.source for row in passes] == ([0] if is_mixed else [0, 1])
        assert passes[0].first == by_artist.frames(0).spans[clip.clip_id][0]
        mixed += is_mixed
    assert mixed > 0, "there was something to leave out"


def test_leaving_out_everybody_is_refused(by_artist: Cache, small: TrainConfig) -> None:
    with pytest.raises(ManifestError, match="no clip in split 'train' is left"):
        load_data(by_artist, small, 0, lambda: None, left_out={f"artist {n}" for n in range(8)})


def test_one_kind_of_validation_clips_can_choose_the_epoch(by_artist: Cache, small: TrainConfig) -> None:
    manifest = by_artist.manifest
    odd = sum(clip.split == "valid" and clip.kind == "odd" for clip in manifest.clips)
    data = load_data(by_artist, replace(small, valid_kind="odd"), 0, lambda: None)
    assert 0 < len(data.valid.rows) == len(data.targets) == odd < 32
    assert len(data.training.rows) == 64
    with pytest.raises(ManifestError, match="no clip in split 'valid' is of the kind 'loud'"):
        load_data(by_artist, replace(small, valid_kind="loud"), 0, lambda: None)
