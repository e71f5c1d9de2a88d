"""Recordings to be labelled: those of a data set, of a folder of tracks, or of any folder with sound files.

A folder of tracks has `tracks.csv` with the columns track_id and artist, and `audio/TRACK_ID.*`. In any other folder
each sound file is a recording, and the folder that contains it counts as its artist.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streamtag.errors import ManifestError
from trainer.data import magnatagatune, tables
from trainer.data.clip_folder import AUDIO_SUFFIXES
from trainer.data.dataset import read_dataset
from trainer.data.manifest import REAL, TRAIN

SUFFIXES = (*AUDIO_SUFFIXES, ".oga")


@dataclass(frozen=True)
class Recording:
    """One sound file. `name` is unique over all folders; its clips get its `kind`, `split` and `artist`."""

    name: str
    path: Path
    artist: str
    kind: str
    split: str


def read_recordings(folders: list[Path]) -> tuple[Recording, ...]:
    """Return the recordings of all folders. Raises ManifestError if a folder has none, or two of them the same name."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise ManifestError(f"two folders named {next(name for name in names if names.count(name) > 1)}: rename one")
    recordings = [recording for folder in folders for recording in _read_folder(folder)]
    tables.check_unique(folders[0], "recording", [recording.name for recording in recordings])
    return tuple(recordings)


def _read_folder(folder: Path) -> list[Recording]:
    prefix = folder.resolve().name + "."
    if (folder / "clips.csv").exists() or (folder / magnatagatune.ANNOTATIONS).exists():
        clips = read_dataset(folder).clips
        return [Recording(prefix + clip.clip_id, clip.path, clip.artist, clip.kind, clip.split) for clip in clips]
    if (folder / "tracks.csv").exists():
        return _read_tracks(folder, prefix)
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise ManifestError(f"{folder}: no sound files in it")
    return [
        Recording(
            prefix + "-".join(file.relative_to(folder).parts), file, str(file.parent.relative_to(folder)), REAL, TRAIN
        )
        for file in files
    ]


def _read_tracks(folder: Path, prefix: str) -> list[Recording]:
    recordings = []
    sounds = {file.stem: file for file in sorted((folder / "audio").glob("*")) if file.suffix.lower() in SUFFIXES}
    for row in tables.read_rows(folder / "tracks.csv", ("track_id", "artist")):
        name = row["track_id"]
        if name not in sounds:
            raise ManifestError(f"{folder}: track {name} has no sound in audio/")
        recordings.append(Recording(prefix + name, sounds[name], row["artist"], REAL, TRAIN))
    return recordings
