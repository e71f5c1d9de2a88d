"""Cross-validation by artist: each fold's tracks are predicted by a model that has never learned from their artists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from streamtag.errors import ManifestError, SpecError
from trainer.data.tables import read_text
from trainer.files import read_json
from trainer.human.tracks import TrackFolder
from trainer.run import SOURCE

FOLDS = 5


def artist_folds(folder: TrackFolder, folds: int = FOLDS, seed: int = 1) -> dict[str, int]:
    """Return the fold, from 0 on, of each artist: about equal numbers of tracks with human tags, and of all tracks.

    The artists with most tracks are placed first, each into the fold with the fewest so far (of those with human tags,
    if the artist has any); artists with equally many are in random order. The order of the tracks does not matter.
    Raises SpecError if there are too few artists.
    """
    sizes: dict[str, tuple[int, int]] = {}
    for track in folder.tracks:
        tagged, total = sizes.get(track.artist, (0, 0))
        sizes[track.artist] = tagged + bool(track.clips), total + 1
    if folds < 2 or folds > len(sizes):
        raise SpecError(f"folds: {folds} folds cannot be made of {len(sizes)} artists; at least 2 are needed")
    names = sorted(sizes)
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    filled = [(0, 0)] * folds
    result = {}
    for artist in sorted(shuffled, key=sizes.__getitem__, reverse=True):
        fold = filled.index(min(filled) if sizes[artist][0] else min(filled, key=lambda counts: counts[1]))
        filled[fold] = filled[fold][0] + sizes[artist][0], filled[fold][1] + sizes[artist][1]
        result[artist] = fold
    return result


def artists_of(folds: Mapping[str, int], fold: int) -> list[str]:
    """Return the artists of a fold, sorted: those whom its model must not have learned from."""
    return sorted(artist for artist, number in folds.items() if number == fold)


def read_artists(path: Path) -> list[str]:
    """Read one artist a line. Raises ManifestError if there are none."""
    names = sorted({line.strip() for line in read_text(path).splitlines()} - {""})
    if not names:
        raise ManifestError(f"{path}: no artists in it")
    return names


def check_left_out(run: Path, artists: Sequence[str]) -> None:
    """Raise ManifestError if a run learned from any of the artists, or is a model file, which does not say."""
    if not artists:
        return
    if not run.is_dir():
        raise ManifestError(f"{run}: is not the folder of a run, so it may have learned from the artists to leave out")
    left_out = read_json(run / SOURCE, ManifestError).get("left_out", ())
    if learned := [artist for artist in artists if artist not in left_out]:
        raise ManifestError(f"{run}: learned from {len(learned)} artists that it must not know, such as {learned[0]!r}")
