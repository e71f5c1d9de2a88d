"""Recordings: data sets, folders of tracks and plain folders, with names that are unique over all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from streamtag.errors import ManifestError
from tests.trainer.conftest import write_rows
from trainer.label.recordings import read_recordings


def tracks(folder: Path, *names: str) -> Path:
    (folder / "audio").mkdir(parents=True)
    for name in names:
        (folder / "audio" / f"{name}.opus").touch()
    write_rows(folder / "tracks.csv", [("track_id", "artist"), *((name, "someone") for name in names)])
    return folder


def test_each_kind_of_folder_gives_its_recordings(tmp_path: Path, write_tree: Callable[[Path, int, int], Path]) -> None:
    data = write_tree(tmp_path / "data", 2, 1)
    plain = tmp_path / "plain" / "band" / "album"
    plain.mkdir(parents=True)
    (plain / "song.ogg").touch()
    (plain / "cover.jpg").touch()
    found = read_recordings([data, tracks(tmp_path / "tracks", "a"), tmp_path / "plain"])
    assert [(r.name, r.artist, r.kind, r.split) for r in found] == [
        ("data.clip-000", "", "even", "train"),
        ("data.clip-001", "", "odd", "train"),
        ("data.clip-002", "", "odd", "valid"),
        ("tracks.a", "someone", "real", "train"),
        ("plain.band-album-song.ogg", "band/album", "real", "train"),
    ]


def test_a_track_without_sound_is_named(tmp_path: Path) -> None:
    folder = tracks(tmp_path / "tracks", "a", "b")
    (folder / "audio" / "b.opus").unlink()
    with pytest.raises(ManifestError, match="track b has no sound"):
        read_recordings([folder])


def test_folders_of_one_name_or_without_sound_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="two folders named tracks"):
        read_recordings([tracks(tmp_path / "x" / "tracks", "a"), tracks(tmp_path / "y" / "tracks", "b")])
    (tmp_path / "empty").mkdir()
    for missing, message in (("empty", "no sound files"), ("nowhere", "no such folder")):
        with pytest.raises(ManifestError, match=message):
            read_recordings([tmp_path / missing])
