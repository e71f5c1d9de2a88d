"""Filling the cache: the same bytes whatever stops it and however many work at it, and clips that do not decode."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamtag.errors import OutputError
from tests.benchmarks.process import children, is_running
from tests.catalog.conftest import wait_for
from tests.conftest import LimitFileSize, Need
from tests.trainer.conftest import contents
from trainer.data.manifest import Manifest
from trainer.features import extraction
from trainer.features.audio import encode
from trainer.features.cache import Cache
from trainer.features.extraction import AugmentedPass, Job, prepare
from trainer.features.frame_store import Entry


def drain(progress: Iterable[tuple[int, int]]) -> tuple[int, int]:
    return list(progress)[-1]


def few(manifest: Manifest, clips: int = 4) -> Manifest:
    return replace(manifest, clips=manifest.clips[:clips])


def with_sound(manifest: Manifest, number: int, path: Path) -> Manifest:
    clips = list(manifest.clips)
    clips[number] = replace(clips[number], path=path)
    return replace(manifest, clips=tuple(clips))


def test_an_interrupted_extraction_continues(manifest: Manifest, tmp_path: Path) -> None:
    part = few(manifest)
    whole, stopped = Cache(tmp_path / "a", part, "scattering", 1), Cache(tmp_path / "b", part, "scattering", 1)
    assert drain(prepare(whole, 1, 0)) == (8, 8)
    running = prepare(stopped, 1, 0)
    for _ in range(3):
        next(running)
    running.close()
    assert drain(prepare(stopped, 1, 0)) == (4, 4)  # two clips were done
    assert contents(stopped) == contents(whole)
    assert drain(prepare(stopped, 1, 0)) == (0, 0)


@pytest.mark.slow
def test_a_killed_extraction_can_be_continued(
    tree: Path, manifest: Manifest, cache: Cache, tmp_path: Path, need: Need
) -> None:
    need("proc", Path("/proc/self").exists(), "system has no /proc")
    words = ["prepare", str(tree), "--cache", str(tmp_path), "--passes", "1", "--workers", "2"]
    running = subprocess.Popen([sys.executable, "-m", "trainer", *words], stderr=subprocess.DEVNULL, text=True)
    lines = tmp_path / "scattering" / "pass-00.csv"
    wait_for(lambda: lines.exists() and lines.read_bytes().count(b"\n") > 10, running)
    workers = children(running.pid)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    assert len(workers) >= 2
    wait_for(lambda: not any(map(is_running, workers)), None)  # nobody is left behind
    resumed = Cache(tmp_path, manifest, "scattering", 1)
    done, total = drain(prepare(resumed, 1, 0))
    assert done == total
    assert 0 < total < len(manifest.clips) + len(resumed.training)
    assert contents(resumed) == contents(cache)


def test_clips_that_do_not_decode_are_listed_and_left_out(manifest: Manifest, tmp_path: Path) -> None:
    bad = tmp_path / "clip-001.mp3"
    bad.write_text("not a sound")
    part = with_sound(few(manifest), 1, bad)
    store = Cache(tmp_path / "c", part, "scattering", 1)
    assert drain(prepare(store, 1, 0)) == (8, 8)
    assert list(store.dropped) == ["clip-001"]
    assert "clip-001.mp3: not an audio file" in store.dropped["clip-001"]
    assert [clip.clip_id for clip in store.manifest.clips] == ["clip-000", "clip-002", "clip-003"]
    assert store.manifest.teachers.shape[1] == 3
    assert store.index["clip-003"] == 2
    assert set(store.frames(1).spans) == {"clip-000", "clip-002", "clip-003"}
    assert store.complete_passes() == 1
    again = Cache(tmp_path / "c", part, "scattering", 1)
    assert again.manifest.clips == store.manifest.clips
    assert drain(prepare(again, 1, 0)) == (0, 0)


@pytest.mark.parametrize("seconds", [1.5, 0.01])
def test_short_clips_are_augmented(seconds: float, manifest: Manifest, tmp_path: Path) -> None:
    """However late it starts, something of a clip remains."""
    sounds = []
    for number in range(8):
        sounds.append(tmp_path / f"{number}.mp3")
        noise = np.random.default_rng(number).normal(0, 0.1, round(seconds * 16000)).astype(np.float32)
        encode(noise, 16000, "mp3", 32000, sounds[-1])
    clips = tuple(replace(clip, path=path) for clip, path in zip(manifest.clips, sounds, strict=False))
    store = Cache(tmp_path / "c", replace(manifest, clips=clips), "scattering", 1)
    drain(prepare(store, 3, 0))
    assert any(store.augmentation(number, clip.clip_id).start_s > 1.5 for number in (1, 2, 3) for clip in clips)
    for number in range(4):
        lengths = [stop - start for start, stop in store.frames(number).spans.values()]
        assert len(lengths) == 8
        assert min(lengths) >= 1


def test_a_partner_that_does_not_decode_is_left_out(manifest: Manifest, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp3"
    bad.write_text("not a sound")
    part = few(manifest, 24)
    before = Cache(tmp_path / "a", part, "mel", 1)
    clip_id, partner = next(
        (name, partner)
        for name in before.training
        if (partner := before.augmentation(1, name).partner) not in (None, name)
    )
    spoiled = with_sound(part, before.index[str(partner)], bad)
    after = Cache(tmp_path / "b", spoiled, "mel", 1)
    drain(prepare(before, 1, 0))
    drain(prepare(after, 1, 0))
    assert before.augmentation(1, clip_id).share < 1.0 == after.augmentation(1, clip_id).share
    assert not np.array_equal(before.read(1, clip_id), after.read(1, clip_id))
    np.testing.assert_array_equal(before.read(0, clip_id), after.read(0, clip_id))


def test_two_at_once_are_refused(manifest: Manifest, tmp_path: Path) -> None:
    store = Cache(tmp_path, few(manifest), "mel", 1)
    running = prepare(store, 0, 0)
    next(running)
    with pytest.raises(OutputError, match="another process"):
        drain(prepare(Cache(tmp_path, few(manifest), "mel", 1), 0, 0))
    assert drain(running) == (4, 4)


def test_missing_space_is_reported_before_any_work(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Cache(tmp_path, few(manifest), "mel", 1)
    usage = type("Usage", (), {"free": 100_000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"about 0\.00 GB are needed, 0\.00 GB are free"):
        drain(prepare(store, 0, 0))
    assert not store.store(0).index_path.exists()


def test_a_full_disk_is_reported_and_loses_nothing(
    manifest: Manifest, tmp_path: Path, limit_file_size: LimitFileSize
) -> None:
    """The limit on a file's size fails as a full disk does, in the middle of a write."""
    part = few(manifest, 12)
    limit_file_size(200_000)
    with pytest.raises(OutputError, match=f"^{tmp_path}/mel/pass-00.frames: cannot be written"):
        drain(prepare(Cache(tmp_path, part, "mel", 1), 0, 0))
    limit_file_size(None)
    resumed, whole = Cache(tmp_path, part, "mel", 1), Cache(tmp_path / "whole", part, "mel", 1)
    assert len(resumed.store(0).entries()) == 200_000 // (188 * 96 * 2)
    drain(prepare(resumed, 0, 0))
    drain(prepare(whole, 0, 0))
    assert contents(resumed) == contents(whole)


# --- the parts of GPU extraction, on the CPU ---


@pytest.mark.parametrize("front", ["scattering", "mel", "cqt"])
def test_a_batch_of_sounds_of_several_lengths_gives_the_same_frames(
    cache: Cache, manifest: Manifest, tmp_path: Path, front: str
) -> None:
    bad = tmp_path / "bad.mp3"
    bad.write_text("not a sound")
    passes = tuple(AugmentedPass(number, cache.augmentation(number, "clip-000"), None, (1, 0, "")) for number in (0, 1))
    jobs = [Job(clip.clip_id, 0, clip.path, front, passes) for clip in manifest.clips[:3]]
    jobs.insert(1, replace(jobs[0], clip_id="bad", sound=bad))
    together = list(extraction.compute_batched([extraction.load_sounds(job) for job in jobs], torch.device("cpu")))
    assert [made.job.clip_id for made in together] == [job.clip_id for job in jobs]
    assert [bool(made.problem) for made in together] == [False, True, False, False]
    for made, job in zip(together, jobs, strict=True):
        alone = extraction.compute_frames(job)
        assert len(made.arrays) == len(alone.arrays)
        for ours, expected in zip(made.arrays, alone.arrays, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=2e-3)  # the last bit of a float16


def test_unfinished_blocks_are_made_again(manifest: Manifest, tmp_path: Path) -> None:
    """The 96 clips are 64 for training, then 32 others: a pass over training clips ends with a whole block."""
    store = Cache(tmp_path, manifest, "mel", 1)
    for number, there, kept in ((0, 40, 32), (0, 64, 64), (0, 96, 96), (1, 40, 32), (1, 64, 64), (0, 31, 0)):
        done = Entry("", 0, "nothing in it")
        with store.store(number).appending(0) as appender:
            for clip_id in store.order(number)[:there]:
                appender.add(replace(done, clip_id=clip_id), np.zeros((0, 96), np.float16))
        assert extraction.kept_entries(store, number, 32) == kept
        assert extraction.kept_entries(store, number, 1) == there


@pytest.mark.slow
def test_interrupted_by_the_user_it_ends_at_once(tree: Path, tmp_path: Path) -> None:
    words = ["prepare", str(tree), "--cache", str(tmp_path), "--passes", "9", "--workers", "1"]
    running = subprocess.Popen([sys.executable, "-m", "trainer", *words], stderr=subprocess.PIPE, text=True)
    lines = tmp_path / "scattering" / "pass-00.csv"
    wait_for(lambda: lines.exists() and lines.read_bytes().count(b"\n") > 3, running)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in errors
