"""Labelling: every crop gets the predictions of what was written, whatever interrupts the work."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from streamtag.errors import ManifestError
from tests.trainer.conftest import RATE, sound, write_rows
from tests.trainer.label.synthetic_teachers import write_teachers
from trainer.data.dataset import read_dataset
from trainer.features.audio import decode, encode
from trainer.label.labelling import LabelPlan, label
from trainer.label.recordings import read_recordings
from trainer.label.teachers import load_teachers

NAMES = ("mtat-fcn", "mtat-musicnn")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teachers(tmp_path_factory.mktemp("teachers") / "teachers.safetensors")


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tracks: one long enough for two crops, one short, one silent; and one that is not audio."""
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(3)
    (folder / "audio").mkdir()
    long, short = sound(rng, True, True, 61.0), sound(rng, False, False, 12.0)
    for name, samples in (("long", long), ("short", short), ("silent", np.zeros(RATE * 30, np.float32))):
        encode(samples, RATE, "flac", 0, folder / "audio" / f"{name}.flac")
    (folder / "audio" / "broken.mp3").write_bytes(b"not audio")
    names = ("long", "short", "silent", "broken")
    write_rows(folder / "tracks.csv", [("track_id", "artist"), *((name, f"{name} artist") for name in names)])
    return folder


def plan(music: Path, teachers: Path, out: Path, passes: int = 1, seed: int = 1) -> LabelPlan:
    return LabelPlan(out, read_recordings([music]), teachers, NAMES, passes, 4, (), seed)


@pytest.fixture(scope="module")
def labelled(music: Path, teachers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("labelled")
    steps = list(label(plan(music, teachers, out), workers=0))
    assert steps[0] == (0, 10)
    assert steps[-1] == (10, 10)
    return out


def test_the_result_is_a_data_set_of_the_crops_that_have_sound(labelled: Path, music: Path) -> None:
    data = read_dataset(labelled)
    name = music.name
    expected = {f"{name}.long_p00_0", f"{name}.long_p00_1", f"{name}.short_p00_0"}
    expected |= {clip_id.replace("_p00_", "_p01_") for clip_id in expected}
    assert {clip.clip_id for clip in data.clips} == expected
    assert {clip.artist for clip in data.clips} == {"long artist", "short artist"}
    assert all(decode(clip.path, RATE).shape == (29 * RATE,) for clip in data.clips)
    with (labelled / "labels.csv").open() as file:
        problems = {row["clip_id"]: row["problem"] for row in csv.DictReader(file) if row["problem"]}
    assert problems[f"{name}.silent_p00_0"] == "silent"
    assert "not an audio file" in problems[f"{name}.broken_p01_0"]


def test_a_mixture_names_the_artist_of_the_other_recording(labelled: Path) -> None:
    clips = {clip.clip_id: clip for clip in read_dataset(labelled).clips}
    mixtures = {clip_id for clip_id, clip in clips.items() if clip.mixed_artist}
    assert mixtures, "with this seed"
    assert mixtures < {clip_id for clip_id in clips if "_p01_" in clip_id}, "unchanged crops are never mixed"
    for clip_id in mixtures:
        assert clips[clip_id].mixed_artist.endswith(" artist")
        assert clips[clip_id].is_by({clips[clip_id].mixed_artist})
    alone = next(clip for clip_id, clip in clips.items() if clip_id not in mixtures)
    assert not alone.is_by({""})
    assert alone.is_by({alone.artist})


def test_the_targets_are_the_predictions_for_the_audio_that_was_written(labelled: Path, teachers: Path) -> None:
    data = read_dataset(labelled)
    fcn, musicnn = load_teachers(teachers, NAMES)
    assert data.windows is not None
    assert (data.windows.window_s, data.windows.hop_s) == (3.0, 3.0)
    for index, clip in enumerate(data.clips):
        audio = torch.from_numpy(decode(clip.path, RATE))
        np.testing.assert_allclose(data.teachers[0, index], fcn.predict(audio)[0], atol=1e-3)
        windows = musicnn.predict(audio)
        np.testing.assert_allclose(data.teachers[1, index], windows.mean(dim=0), atol=1e-3)
        np.testing.assert_allclose(data.windows.values[index], windows, atol=1e-3)


def test_unchanged_crops_follow_one_another_and_changed_ones_differ(labelled: Path, music: Path) -> None:
    sounds = {clip.clip_id: decode(clip.path, RATE) for clip in read_dataset(labelled).clips}
    whole = decode(music / "audio" / "long.flac", RATE)
    for k in range(2):
        crop = whole[k * 29 * RATE : (k + 1) * 29 * RATE]
        np.testing.assert_allclose(sounds[f"{music.name}.long_p00_{k}"], crop, atol=1e-4)
        changed = sounds[f"{music.name}.long_p01_{k}"]
        assert np.sqrt(np.mean((changed - crop) ** 2)) > 0.01


def test_interrupted_work_goes_on_to_the_same_bytes(
    labelled: Path, music: Path, teachers: Path, tmp_path: Path
) -> None:
    work = label(plan(music, teachers, tmp_path), workers=0)
    assert next(work)[0] == 0
    assert next(work)[0] > 0
    work.close()
    assert len(read_dataset(tmp_path).clips) < 6  # what is done is usable
    with (tmp_path / "labels.half").open("ab") as file:
        file.write(b"half a row")
    steps = list(label(plan(music, teachers, tmp_path), workers=1))
    assert steps[0][0] > 0
    for name in ("labels.half", "labels.csv", "clips.csv"):
        assert (tmp_path / name).read_bytes() == (labelled / name).read_bytes()
    for written in (labelled / "audio").iterdir():
        assert (tmp_path / "audio" / written.name).read_bytes() == written.read_bytes()


def test_other_settings_are_refused_and_more_passes_are_not(labelled: Path, music: Path, teachers: Path) -> None:
    with pytest.raises(ManifestError, match="made with seed = 1, not 2"):
        list(label(plan(music, teachers, labelled, seed=2), workers=0))
    before = (labelled / "labels.half").read_bytes()
    assert list(label(plan(music, teachers, labelled, passes=0), workers=0)) == [(5, 5)]
    assert (labelled / "labels.half").read_bytes() == before
    assert list(label(plan(music, teachers, labelled), workers=0)) == [(10, 10)]
