"""A folder of tracks with human tags.

    tracks.csv       one line a track. Needed columns: track_id, artist. All others are ignored.
    human_tags.csv   tracks whose human tags are known: track_id, clips (how many clips of the track were annotated),
                     then for each human tag how many of these clips carry it
    audio/           TRACK_ID.opus (or .mp3 .wav .flac .ogg .m4a), an excerpt of any length

A human tag stands for one or several tags of a model: see `concepts.table`. Annotators do not check every tag for
every clip, so that a missing tag is weak evidence of absence, stronger with many clips.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import ManifestError
from trainer.data import tables
from trainer.data.clip_folder import find_sound

TRACKS, HUMAN_TAGS = "tracks.csv", "human_tags.csv"


@dataclass(frozen=True)
class Track:
    """One track. `path` is its sound file; `clips` were annotated, none if its human tags are unknown."""

    track_id: str
    artist: str
    path: Path
    clips: int = 0


@dataclass(frozen=True)
class TrackFolder:
    """A folder of tracks as it was read. `counts` [n, T]: how many clips of a track carry each of the human `tags`."""

    root: Path
    tags: tuple[str, ...]
    tracks: tuple[Track, ...]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def artists(self) -> list[str]:
        """Return the artist of each track [n]."""
        return [track.artist for track in self.tracks]

    def tagged(self) -> TrackFolder:
        """Return only the tracks with known human tags. Raises ManifestError if there are none."""
        kept = [i for i, track in enumerate(self.tracks) if track.clips]
        if not kept:
            raise ManifestError(f"{self.root}: no track has human tags")
        return replace(self, tracks=tuple(self.tracks[i] for i in kept), counts=self.counts[kept])


def read_tracks(root: Path) -> TrackFolder:
    """Read and check the folder. Raises ManifestError naming the first thing that is wrong."""
    rows = tables.read_rows(root / TRACKS, ("track_id", "artist"))
    if not rows:
        raise ManifestError(f"{root / TRACKS}: no tracks in it")
    names = [row["track_id"] for row in rows]
    tables.check_unique(root / TRACKS, "track_id", names)
    tags, annotated = _read_human_tags(root / HUMAN_TAGS, set(names))
    tracks, counts = [], np.zeros((len(rows), len(tags)), dtype=np.int64)
    for index, row in enumerate(rows):
        if not row["artist"]:
            raise ManifestError(f"{root / TRACKS}: track {row['track_id']} has no artist")
        clips, counts[index] = annotated.get(row["track_id"], (0, 0))
        sound = find_sound(root, row["track_id"], row.get("path"))
        tracks.append(Track(row["track_id"], row["artist"], sound, clips))
    return TrackFolder(root, tags, tuple(tracks), counts)


def _read_human_tags(path: Path, known: set[str]) -> tuple[tuple[str, ...], dict[str, tuple[int, list[int]]]]:
    """Return the names of the human tags, and for each track its annotated clips and how many carry each tag."""
    header, lines = tables.read_table(path, ("track_id", "clips"))
    tags = tuple(name for name in header if name not in ("track_id", "clips"))
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    tables.check_unique(path, "track_id", [row["track_id"] for row in rows])
    found = {}
    for row in rows:
        name = row.pop("track_id")
        if name not in known:
            raise ManifestError(f"{path}: track {name} is not in {TRACKS}")
        for column, text in row.items():
            if not text.isdecimal():
                raise ManifestError(f"{path}: track {name}, {column}: {text!r} is no number of clips")
        clips, counts = int(row["clips"]), [int(row[tag]) for tag in tags]
        if not clips or max(counts, default=0) > clips:
            raise ManifestError(f"{path}: track {name}: more clips carry a tag than were annotated")
        found[name] = clips, counts
    return tags, found
