"""Folds by artist: complete, balanced, reproducible."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtag.errors import ManifestError, SpecError
from trainer.human.folds import artist_folds, artists_of, check_left_out, read_artists
from trainer.human.tracks import Track, TrackFolder
from trainer.run import DataSource


def folder_of(artists: list[int], clips: list[int]) -> TrackFolder:
    tracks = tuple(
        Track(str(n), f"artist {artist}", Path(f"{n}.opus"), count)
        for n, (artist, count) in enumerate(zip(artists, clips, strict=True))
    )
    return TrackFolder(Path("nowhere"), (), tracks, np.zeros((len(tracks), 0), np.int64))


tracks = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=40, max_size=120)


@settings(max_examples=25)
@given(tracks, st.integers(2, 6), st.integers(0, 5))
def test_every_artist_is_in_one_fold_and_the_folds_are_balanced(
    listed: list[tuple[int, int]], folds: int, seed: int
) -> None:
    folder = folder_of([a for a, _ in listed], [c for _, c in listed])
    if len(set(folder.artists)) < folds:
        return
    found = artist_folds(folder, folds, seed)
    assert set(found) == set(folder.artists)
    parts = [artists_of(found, fold) for fold in range(folds)]
    assert sorted(chain.from_iterable(parts)) == sorted(found)
    tagged = [sum(bool(t.clips) for t in folder.tracks if found[t.artist] == fold) for fold in range(folds)]
    by_artist = [sum(bool(t.clips) for t in folder.tracks if t.artist == artist) for artist in found]
    assert max(tagged) - min(tagged) <= max(by_artist)
    shuffled = replace(folder, tracks=folder.tracks[::-1])
    assert artist_folds(shuffled, folds, seed) == found, "the order of the tracks does not matter"


def test_tracks_without_human_tags_are_balanced_too() -> None:
    artists, clips = [0] * 7 + [1] * 3 + [2] * 4 + list(range(3, 40)), [1] * 7 + [1] * 3 + [1] * 4 + [0] * 37
    folder = folder_of(artists, clips)
    found = artist_folds(folder, 3)
    assert sorted(sum(found[artist] == fold for artist in folder.artists) for fold in range(3)) == [17, 17, 17]


def test_another_seed_divides_otherwise() -> None:
    folder = folder_of([n // 2 for n in range(60)], [1] * 60)
    assert artist_folds(folder, seed=1) != artist_folds(folder, seed=2)


def test_too_few_artists_are_refused() -> None:
    with pytest.raises(SpecError, match="3 folds cannot be made of 2 artists"):
        artist_folds(folder_of([0, 1, 1], [1, 1, 1]), 3)


def test_a_run_that_knows_an_artist_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fold.txt").write_text("Bach\n\nAna \n")
    artists = read_artists(tmp_path / "fold.txt")
    assert artists == ["Ana", "Bach"]
    DataSource("data", "scattering", 1, 0, left_out=artists).write(tmp_path)
    check_left_out(tmp_path, ["Bach"])
    with pytest.raises(ManifestError, match="learned from 1 artists that it must not know, such as 'Cato'"):
        check_left_out(tmp_path, ["Bach", "Cato"])
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ManifestError, match="no artists in it"):
        read_artists(tmp_path / "empty.txt")
