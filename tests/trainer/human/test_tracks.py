"""Reading a folder of tracks, and mistakes in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from streamtag.errors import ManifestError
from trainer.human.tracks import read_tracks


def test_tracks_with_and_without_human_tags(track_folder: Path) -> None:
    folder = read_tracks(track_folder)
    assert (len(folder), folder.tags) == (30, ("high_tone", "noisy", "cowbell"))
    tagged = folder.tagged()
    assert len(tagged) == 24
    assert all(track.clips == 4 for track in tagged.tracks)
    np.testing.assert_array_equal(tagged.counts[3], (3, 2, 0))
    assert tagged.tracks[3].path == track_folder / "audio" / "track-03.opus"
    assert tagged.artists[3] == "artist 3"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("tracks.csv", "artist", "singer", "no column 'artist'"),
        ("tracks.csv", "track-01,artist 1,", "track-01,,", "track track-01 has no artist"),
        ("tracks.csv", "track-02", "track-01", "track_id 'track-01' twice"),
        ("tracks.csv", "track-29", "track-99", "track-99 has no sound"),
        ("human_tags.csv", "track-00,", "track-77,", "track track-77 is not in tracks.csv"),
        ("human_tags.csv", "track-00,4,", "track-00,-4,", "track track-00, clips: '-4' is no number of clips"),
        (
            "human_tags.csv",
            "track-03,4,3",
            "track-03,4,5",
            "track track-03: more clips carry a tag than were annotated",
        ),
    ],
)
def test_mistakes_are_named(track_folder: Path, tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    copy = tmp_path / "tracks"
    shutil.copytree(track_folder, copy)
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new, 1))
    with pytest.raises(ManifestError, match=message):
        read_tracks(copy)


def test_a_folder_without_human_tags_cannot_be_scored(track_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tracks"
    shutil.copytree(track_folder, copy)
    header = (copy / "human_tags.csv").read_text().splitlines()[0]
    (copy / "human_tags.csv").write_text(header + "\n")
    with pytest.raises(ManifestError, match="no track has human tags"):
        read_tracks(copy).tagged()
