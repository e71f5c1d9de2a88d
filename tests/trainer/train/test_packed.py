"""Features in one small file: the right clips with their targets, and features as exact as is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamtag.errors import ManifestError, SpecError
from streamtag.model import Normalization
from streamtag.spec import NormalizationSpec, ScatteringSpec
from trainer.data.manifest import Clip, Manifest, WindowTargets
from trainer.features.cache import Cache
from trainer.features.frame_store import Entry
from trainer.train.batches import Batches
from trainer.train.config import TrainConfig
from trainer.train.dataset import FeatureSource, load_data
from trainer.train.distributed import Group
from trainer.train.loop import Run
from trainer.train.packed import PackedFeatures, pack

TAGS, WINDOWS = 3, 4
PLAIN = TrainConfig(
    system="Scat-1L-8H-GRU", batch=4, frames=6, epochs=1, precision="float32", mixup=0.0, gain_db=0.0, tilt_db=0.0,
    noise=0.0, time_masks=0, path_masks=0, input_dropout=0.0,
)  # fmt: skip


def cache_of(folder: Path, clips: int = 12, front: str = "scattering") -> Cache:
    """Random features, from loud to almost silent, of clips of different lengths; every third is for validation."""
    rng = np.random.default_rng(0)
    listed = tuple(
        Clip(f"c{n}", "valid" if n % 3 == 2 else "train", "real", folder / f"{n}.mp3", f"artist {n}")
        for n in range(clips)
    )
    teachers = rng.random((2, clips, TAGS)).astype(np.float32)
    teachers[:, 2::6] = 0.9
    teachers[:, 5::6] = 0.01
    windows = WindowTargets(rng.random((clips, WINDOWS, TAGS)).astype(np.float32), 3.0, 1.5)
    facts = rng.integers(-1, 2, (clips, TAGS)).astype(np.int8)
    manifest = Manifest(folder, ("a", "b", "c"), listed, teachers, windows, facts, "random clips")
    cache = Cache(folder / "features", manifest, front, seed=1)
    with cache.store(0).appending(0) as store:
        for n, clip in enumerate(listed):
            frames = 10 + n
            values = np.exp(rng.normal(-6, 2, (frames, cache.front.size))) * cache.front.scale
            store.add(Entry(clip.clip_id, frames), values.clip(0, 6e4).astype(np.float16))
    cache.refresh()
    return cache


def test_features_come_back_with_the_error_that_is_stated(tmp_path: Path) -> None:
    cache, file = cache_of(tmp_path), tmp_path / "packed"
    found = pack(cache, file)
    packed = PackedFeatures(file)
    assert (found.clips, found.available, found.size) == (12, 12, file.stat().st_size)
    logarithms = Normalization(NormalizationSpec(compression="log"), ScatteringSpec())
    before, after = (
        torch.cat([logarithms.raw(torch.from_numpy(source.read(0, f"c{n}"))) for n in range(12)])
        for source in (cache, packed)
    )
    error = (after - before) / before.std(0, correction=0)
    assert float(error.square().mean().sqrt()) == pytest.approx(found.error_rms, rel=0.02)
    assert float(error.abs().max()) == pytest.approx(found.error_max, rel=0.1)
    assert 0.001 < found.error_rms < 0.02
    assert found.error_max < 0.05


def test_a_clip_takes_a_byte_per_value_and_its_targets(tmp_path: Path) -> None:
    cache = cache_of(tmp_path)
    size = pack(cache, tmp_path / "packed").size
    values = sum(10 + n for n in range(12)) * 374
    assert values < size < values + 12 * 300 + 10_000


def test_clips_keep_their_names_splits_and_targets(tmp_path: Path) -> None:
    cache, file = cache_of(tmp_path), tmp_path / "packed"
    pack(cache, file)
    ours, theirs = PackedFeatures(file).manifest, cache.manifest
    assert [replace(clip, path=Path()) for clip in ours.clips] == [replace(clip, path=Path()) for clip in theirs.clips]
    assert (ours.tags, ours.description) == (theirs.tags, theirs.description)
    np.testing.assert_allclose(ours.teachers, theirs.teachers, atol=5e-4)
    np.testing.assert_array_equal(ours.facts, theirs.facts)
    assert ours.windows is not None
    assert theirs.windows is not None
    np.testing.assert_allclose(ours.windows.values, theirs.windows.values, atol=5e-4)
    assert (ours.windows.window_s, ours.windows.hop_s) == (3.0, 1.5)


def test_a_file_that_cannot_hold_all_clips_holds_some_of_both_splits(tmp_path: Path) -> None:
    cache, file = cache_of(tmp_path, clips=60), tmp_path / "packed"
    limit = 500_000
    found = pack(cache, file, limit)
    assert 0.9 * limit < found.size <= limit
    splits = [clip.split for clip in PackedFeatures(file).manifest.clips]
    assert found.clips == len(splits) < found.available == 60
    assert 0 < splits.count("valid") < splits.count("train")


def test_training_gets_from_packed_features_what_it_gets_from_a_cache(tmp_path: Path) -> None:
    cache, file = cache_of(tmp_path, clips=36), tmp_path / "packed"
    pack(cache, file)
    sources: tuple[FeatureSource, ...] = cache, PackedFeatures(file)
    batches = []
    for source in sources:
        data = load_data(source, PLAIN, 0, lambda: None)
        batches.append(next(iter(Batches(data, PLAIN, data.normalize, torch.device("cpu"), Group()).epoch(1))))
    ours, theirs = batches
    assert float((ours.x - theirs.x).abs().mean()) < 0.02
    assert float((ours.x - theirs.x.roll(1, 0)).abs().mean()) > 0.2, "clips differ, so an exchange would be seen"
    torch.testing.assert_close(ours.y, theirs.y, atol=1e-3, rtol=0)
    torch.testing.assert_close(ours.weight, theirs.weight)
    (epoch,) = Run(tmp_path / "run", PLAIN, data).epochs()
    assert np.isfinite(epoch.loss)


def test_what_cannot_be_packed_or_is_no_packed_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="only scattering features"):
        pack(cache_of(tmp_path / "mel", front="mel"), tmp_path / "packed")
    (tmp_path / "text").write_text("no such file")
    with pytest.raises(ManifestError, match="text: no training file"):
        PackedFeatures(tmp_path / "text")
    pack(cache_of(tmp_path), tmp_path / "packed")
    with pytest.raises(ManifestError, match="no augmented passes"):
        PackedFeatures(tmp_path / "packed").frames(1)
