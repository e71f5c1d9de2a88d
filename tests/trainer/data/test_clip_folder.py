"""Data sets that fit their description, and each way not to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamtag.errors import ManifestError
from trainer.data.dataset import read_dataset

Arrays = dict[str, np.ndarray]


def write(folder: Path, arrays: Arrays | None = None) -> Path:
    """Three clips, two tags; hard targets unless arrays are given."""
    (folder / "audio").mkdir(parents=True)
    for name in "abc":
        (folder / "audio" / f"{name}.mp3").write_bytes(b"only looked for here")
    (folder / "clips.csv").write_text("clip_id,split,artist\na,train,x\nb,train,x\nc,valid,y\n")
    (folder / "tags.txt").write_text("guitar\nno vocals\n")
    if arrays is None:
        (folder / "targets.csv").write_text("clip_id,no vocals,guitar\nc,0,1\na,1,0\nb,1,1\n")
    else:
        np.savez(folder / "targets.npz", **arrays)  # type: ignore[arg-type]
    return folder


def test_an_artist_in_two_splits_is_refused_by_name(tmp_path: Path) -> None:
    table = write(tmp_path) / "clips.csv"
    table.write_text("clip_id,split,artist,kind\na,train,x,real\nb,train, y ,real\nc,valid,y,real\n")
    with pytest.raises(ManifestError, match=r"artist 'y' is in the splits 'train' and 'valid'"):
        read_dataset(tmp_path)
    for harmless in ("a,train,,\nb,train,,\nc,valid,,\n", "a,train,x,real\nb,train,y,rendered\nc,valid,y,rendered\n"):
        table.write_text("clip_id,split,artist,kind\n" + harmless)
        assert len(read_dataset(tmp_path).clips) == 3


def soft() -> Arrays:
    return {
        "clip_id": np.array(["c", "a", "b"]),
        "one": np.array([[0.0, 0.2], [0.4, 0.6], [0.8, 1.0]], dtype=np.float16),
        "two": np.array([[0.2, 0.2], [0.4, 0.4], [0.8, 0.8]], dtype=np.float16),
        "one_windows": np.zeros((3, 4, 2), dtype=np.float16),
        "window_s": np.array(3.0),
        "hop_s": np.array(1.5),
    }


def test_hard_targets_are_matched_by_name(tmp_path: Path) -> None:
    manifest = read_dataset(write(tmp_path / "d"))
    assert [clip.clip_id for clip in manifest.clips] == ["a", "b", "c"]
    assert manifest.tags == ("guitar", "no vocals")
    np.testing.assert_array_equal(manifest.teachers, [[[0, 1], [1, 1], [1, 0]]])
    np.testing.assert_array_equal(manifest.split("train"), [0, 1])
    assert manifest.windows is None
    assert {clip.kind for clip in manifest.clips} == {"all"}


def test_soft_targets_are_matched_by_name(tmp_path: Path) -> None:
    manifest = read_dataset(write(tmp_path / "d", soft()))
    assert manifest.teachers.shape == (2, 3, 2)
    np.testing.assert_allclose(manifest.teachers[0], [[0.4, 0.6], [0.8, 1.0], [0.0, 0.2]], atol=1e-3)
    assert manifest.windows is not None
    assert manifest.windows.values.shape == (3, 4, 2)
    assert (manifest.windows.window_s, manifest.windows.hop_s) == (3.0, 1.5)


def test_facts(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", soft())
    (folder / "facts.csv").write_text("clip_id,true_tags,false_tags\nb,guitar,no vocals\nother,,guitar\n")
    np.testing.assert_array_equal(read_dataset(folder).facts, [[0, 0], [1, -1], [0, 0]])


def test_paths_and_byte_order_mark(tmp_path: Path) -> None:
    folder = write(tmp_path / "d")
    (folder / "clips.csv").write_text("\ufeffclip_id,split,path\na,train,audio/c.mp3\n", encoding="utf-8")
    (folder / "targets.csv").write_text("clip_id,guitar,no vocals\na,0,1\n")
    assert read_dataset(folder).clips[0].path.name == "c.mp3"


def edit(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


MISFITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no clips.csv": (lambda f: (f / "clips.csv").unlink(), "nor clips.csv is in it"),
    "no split column": (edit("clips.csv", "clip_id\na\n"), "no column 'split'"),
    "empty clips.csv": (edit("clips.csv", "clip_id,split\n"), "no clips"),
    "empty split": (edit("clips.csv", "clip_id,split\na,\n"), "clip a has no split"),
    "ragged line": (edit("clips.csv", "clip_id,split\na,train,x\n"), "line 2"),
    "clip twice": (edit("clips.csv", "clip_id,split\na,train\na,valid\n"), "'a' twice"),
    "escaping name": (edit("clips.csv", "clip_id,split\n../a,train\n"), "cannot be a file name"),
    "no sound": (lambda f: (f / "audio" / "b.mp3").unlink(), "clip b has no sound"),
    "no tags": (edit("tags.txt", "\n"), "no tags"),
    "tag twice": (edit("tags.txt", "guitar\nguitar\n"), "'guitar' twice"),
    "tag without column": (edit("tags.txt", "guitar\nharp\n"), "no column 'harp'"),
    "no targets": (lambda f: (f / "targets.csv").unlink(), "either targets.csv or targets.npz"),
    "clip without targets": (edit("targets.csv", "clip_id,guitar,no vocals\na,0,1\nb,0,1\n"), "for clip c"),
    "target of 2": (
        edit("targets.csv", "clip_id,guitar,no vocals\na,2,1\nb,0,1\nc,0,1\n"),
        "neither 0 nor 1",
    ),
    "unknown fact": (edit("facts.csv", "clip_id,true_tags,false_tags\na,harp,\n"), "unknown tag 'harp'"),
    "contradiction": (edit("facts.csv", "clip_id,true_tags,false_tags\na,guitar,guitar\n"), "both true and"),
    "not text": (lambda f: (f / "tags.txt").write_bytes(b"\xff\xfe\xff"), "cannot be read"),
}


def spoiled(**changes: np.ndarray | None) -> Arrays:
    return {name: value for name, value in {**soft(), **changes}.items() if value is not None}


SOFT_MISFITS: dict[str, tuple[Arrays, str]] = {
    "no ids": (spoiled(clip_id=None), "needs clip_id"),
    "ids as numbers": (spoiled(clip_id=np.arange(3)), "needs clip_id"),
    "id twice": (spoiled(clip_id=np.array(["a", "a", "b"])), "'a' twice"),
    "id missing": (spoiled(clip_id=np.array(["x", "a", "b"])), "for clip c"),
    "other tags": (spoiled(one=np.zeros((3, 3))), "one is float64[3, 3]"),
    "other clips": (spoiled(one=np.zeros((2, 2))), "one is float64[2, 2]"),
    "text": (spoiled(one=np.full((3, 2), "a")), "not numbers"),
    "NaN": (spoiled(one=np.full((3, 2), np.nan)), "no probabilities"),
    "above 1": (spoiled(one=np.full((3, 2), 1.5)), "no probabilities"),
    "below 0": (spoiled(one_windows=np.full((3, 4, 2), -0.1)), "no probabilities"),
    "flat windows": (spoiled(one_windows=np.zeros((3, 2))), "one_windows is"),
    "no times": (spoiled(hop_s=None), "need window_s and hop_s"),
    "a pickle": (spoiled(one=np.array([[object()] * 2] * 3)), "not a plain numpy archive"),
    "only windows": (spoiled(one=None, two=None), "no array [clips, tags]"),
}


@pytest.mark.parametrize("case", [*MISFITS, *SOFT_MISFITS])
def test_misfits_are_named(tmp_path: Path, case: str) -> None:
    arrays, message = SOFT_MISFITS.get(case, (None, ""))
    folder = write(tmp_path / "d", arrays)
    if arrays is None:
        spoil, message = MISFITS[case]
        spoil(folder)
    with pytest.raises(ManifestError) as caught:
        read_dataset(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
