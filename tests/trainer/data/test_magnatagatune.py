"""MagnaTagATune as published: the tags, the split, the artists, what is left out, and each way not to be it."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamtag.errors import ManifestError
from tests.trainer.synthetic_magnatagatune import BROKEN, TOP, SyntheticSet
from trainer.data.dataset import read_dataset
from trainer.data.magnatagatune import ANNOTATIONS, CLIP_INFO, Annotations, count_notes
from trainer.data.manifest import Manifest

Rows = list[list[str]]


@pytest.fixture(scope="module")
def manifest(dataset: SyntheticSet) -> Manifest:
    return read_dataset(dataset.root)


@pytest.fixture
def copy(dataset: SyntheticSet, tmp_path: Path) -> Path:
    """The miniature in a folder of its own, its MP3s as links."""
    root = tmp_path / "copy"
    shutil.copytree(dataset.root, root, copy_function=lambda source, target: Path(target).symlink_to(source))
    for name in (ANNOTATIONS, CLIP_INFO):
        (root / name).unlink()
        shutil.copy(dataset.root / name, root / name)
    return root


def edit(path: Path, change: Callable[[Rows], object]) -> None:
    with path.open(newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    change(rows)
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL).writerows(rows)


def test_equally_frequent_tags_come_in_the_order_of_the_columns(copy: Path) -> None:
    def level(rows: Rows) -> None:
        first, second = (rows[0].index(tag) for tag in (TOP[10], TOP[20]))
        for row in rows[1:]:
            row[first] = row[second]

    edit(copy / ANNOTATIONS, level)
    head = (copy / ANNOTATIONS).read_text().splitlines()[0]
    equal = sorted((TOP[10], TOP[20]), key=head.index)
    found = read_dataset(copy).tags
    assert found.index(equal[1]) == found.index(equal[0]) + 1


def test_the_split_goes_by_folder_and_leaves_out_who_has_no_top_tag(dataset: SyntheticSet, manifest: Manifest) -> None:
    for split in ("train", "valid", "test"):
        expected = {clip.clip_id for clip in dataset.split(split)}
        assert {manifest.clips[i].clip_id for i in manifest.split(split)} == expected
    assert len(manifest.clips) == len(dataset.clips)
    assert {clip.clip_id for clip in dataset.untagged}.isdisjoint(clip.clip_id for clip in manifest.clips)
    assert {clip.path.parent.name for clip in manifest.clips if clip.split == "valid"} == {"c"}
    assert {clip.path.parent.name for clip in manifest.clips if clip.split == "test"} == set("def")


def test_targets_and_artists_are_those_of_the_tables(dataset: SyntheticSet, manifest: Manifest) -> None:
    assert manifest.tags == TOP, "in order of frequency"
    written = {clip.clip_id: clip for clip in dataset.clips}
    for clip, targets in zip(manifest.clips, manifest.teachers[0], strict=True):
        assert {manifest.tags[i] for i in np.flatnonzero(targets)} == written[clip.clip_id].tags & set(TOP)
        assert clip.artist == written[clip.clip_id].artist.replace("_", " ")
    assert manifest.teachers.shape == (1, len(dataset.clips), 50)
    assert not manifest.facts.any()


def test_what_is_left_out_and_what_was_counted_is_said(dataset: SyntheticSet, manifest: Manifest) -> None:
    counts = " / ".join(str(sum(c.clip_id not in BROKEN for c in dataset.split(s))) for s in ("valid", "test"))
    (counted,) = [note for note in manifest.notes if "annotated" in note]
    assert f" / {counts} (train / valid / test)" in counted
    assert "left out: 35644, 55753, 57881: known to be broken in the archive" in manifest.notes
    assert any("whole set has 25,863 clips" in note for note in manifest.notes)
    assert "folders 0-b train, c valid, d-f test" in manifest.description


def test_the_counts_of_the_whole_set_are_checked() -> None:
    """A table with the published counts; then the last of its tagged clips has no tag, or it is a clip shorter."""
    clips = [*"0" * 15_247, *"c" * 1_529, *"f" * 4_332, *"c" * 4_755]
    mp3s = [f"{folder}/{number}.mp3" for number, folder in enumerate(clips)]
    whole, less = (Annotations(tuple(paths), tuple(paths), (), np.zeros(0, np.uint8)) for paths in (mp3s, mp3s[:-1]))
    counts = "25,863 clips annotated, 21,108 with a top tag: 15,247 / 1,529 / 4,332 (train / valid / test)"
    assert list(count_notes(whole, range(21_108))) == [counts]
    _, warning = count_notes(whole, range(21_107))
    assert warning.startswith("warning: these are not the 15,247 / 1,529 / 4,332 of the usual split")
    _, warning = count_notes(less, range(21_108))
    assert warning.startswith("warning: the whole set has 25,863 clips")


@pytest.mark.parametrize("place", ["mp3", "audio"])
def test_the_sounds_may_lie_in_a_folder_of_their_own(dataset: SyntheticSet, copy: Path, place: str) -> None:
    (copy / place).mkdir()
    for folder in "0123456789abcdef":
        (copy / folder).rename(copy / place / folder)
    assert read_dataset(copy).clips[0].path == copy / place / dataset.clips[0].path


def test_without_clip_info_the_artists_are_unknown(dataset: SyntheticSet, copy: Path) -> None:
    (copy / CLIP_INFO).unlink()
    unknown = read_dataset(copy)
    assert {clip.artist for clip in unknown.clips} == {""}
    assert any(f"no artist known of {len(dataset.clips)} clips" in note for note in unknown.notes)


def test_artists_in_two_splits_are_said_once(dataset: SyntheticSet, copy: Path) -> None:
    assert not any("more than one split" in note for note in read_dataset(copy).notes)
    table = copy / CLIP_INFO
    table.write_text(table.read_text().replace("artist c1", "artist 00").replace("artist d1", "artist 00"))
    (note,) = [note for note in read_dataset(copy).notes if "more than one split" in note]
    artists = len({clip.artist for clip in dataset.clips}) - 2
    assert note == f"warning: 1 of {artists} artists are in more than one split: scores are optimistic"


def test_a_tag_without_positives_in_a_split_is_said(copy: Path) -> None:
    def clear(rows: Rows) -> None:
        tag = rows[0].index(TOP[7])
        for row in rows[1:]:
            if row[-1].startswith("c/"):
                row[tag] = "0"

    assert not any("cannot be scored" in note for note in read_dataset(copy).notes)
    edit(copy / ANNOTATIONS, clear)
    notes = [note for note in read_dataset(copy).notes if "cannot be scored" in note]
    assert notes == [f"warning: valid: no clip has {TOP[7]!r}: it cannot be scored there"]


def drop_column(name: str) -> Callable[[Rows], object]:
    def drop(rows: Rows) -> None:
        place = rows[0].index(name)
        for row in rows:
            del row[place]

    return drop


def put(row: int, column: int, text: str) -> Callable[[Rows], object]:
    return lambda rows: rows[row].__setitem__(column, text)


def keep_columns(rows: Rows) -> None:
    for row in rows:
        del row[40:-1]


def no_tags(rows: Rows) -> None:
    for row in rows[1:]:
        row[1:-1] = ["0"] * 188


MISFITS: dict[str, tuple[Callable[[Rows], object], str]] = {
    "no clip_id": (drop_column("clip_id"), "no column 'clip_id'"),
    "no mp3_path": (drop_column("mp3_path"), "no column 'mp3_path'"),
    "few tags": (keep_columns, "39 columns of tags, fewer than the 50"),
    "a column twice": (put(0, 2, "clip_id"), "column 'clip_id' twice"),
    "a clip twice": (lambda rows: rows.append(rows[1]), "clip_id '2' twice"),
    "a value of 2": (put(1, 3, "2"), "'2' is neither 0 nor 1"),
    "an empty value": (put(1, 3, ""), "'' is neither 0 nor 1"),
    "a ragged line": (lambda rows: rows[4].append("0"), "line 5 has another number of fields"),
    "a path that leads out": (put(1, -1, "../0/a.mp3"), "mp3_path '../0/a.mp3' is not FOLDER/NAME.mp3"),
    "an absolute path": (put(1, -1, "/etc/passwd"), "is not FOLDER/NAME.mp3"),
    "an unknown folder": (put(1, -1, "g/a.mp3"), "is not FOLDER/NAME.mp3"),
    "no clips": (lambda rows: rows.__delitem__(slice(1, None)), "no clips in it"),
    "nothing at all": (lambda rows: rows.clear(), "not a table"),
    "no tag anywhere": (no_tags, "no clip with one of the 50 most frequent tags"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_misfits_are_named(copy: Path, case: str) -> None:
    change, message = MISFITS[case]
    edit(copy / ANNOTATIONS, change)
    with pytest.raises(ManifestError) as caught:
        read_dataset(copy)
    assert message in str(caught.value)
    assert "annotations_final.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_clips_without_a_file_are_counted_and_the_first_is_named(dataset: SyntheticSet, copy: Path) -> None:
    (copy / dataset.clips[3].path).unlink()
    (copy / dataset.clips[5].path).unlink()
    with pytest.raises(ManifestError) as caught:
        read_dataset(copy)
    assert f"clip {dataset.clips[3].clip_id} has no sound at" in str(caught.value)
    assert "(nor have 1 others)" in str(caught.value)
    assert "python -m trainer download" in str(caught.value)


def test_clip_info_without_its_columns_is_refused(copy: Path) -> None:
    edit(copy / CLIP_INFO, drop_column("artist"))
    with pytest.raises(ManifestError, match=r"clip_info_final\.csv: no column 'artist'"):
        read_dataset(copy)
