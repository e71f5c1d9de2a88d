"""Data sets in the trainer's own format: clips.csv, tags.txt, targets and sounds. See `trainer.data.dataset`."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import ManifestError
from trainer.data import tables
from trainer.data.manifest import Array, Clip, Manifest, WindowTargets

RENDERED = "rendered"  # the kind of clips without a performer, such as rendered scores
AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a")


def read(root: Path) -> Manifest:
    """Read and check the folder. Raises ManifestError naming the first thing that is wrong."""
    tags = _read_tags(root / "tags.txt")
    clips = _read_clips(root)
    index = {clip.clip_id: i for i, clip in enumerate(clips)}
    hard, soft = root / "targets.csv", root / "targets.npz"
    if hard.exists() == soft.exists():
        raise ManifestError(f"{root}: needs either targets.csv or targets.npz")
    windows = None
    if hard.exists():
        teachers = _read_hard_targets(hard, index, tags)
    else:
        teachers, windows = _read_soft_targets(soft, index, tags)
    facts = _read_facts(root / "facts.csv", index, tags)
    return Manifest(root, tags, clips, teachers, windows, facts, description=root.name)


def _read_tags(path: Path) -> tuple[str, ...]:
    tags = tuple(line.strip() for line in tables.read_text(path).splitlines() if line.strip())
    if not tags:
        raise ManifestError(f"{path}: no tags in it")
    tables.check_unique(path, "tag", tags)
    return tags


def _read_clips(root: Path) -> tuple[Clip, ...]:
    path = root / "clips.csv"
    rows = tables.read_rows(path, ("clip_id", "split"))
    if not rows:
        raise ManifestError(f"{path}: no clips in it")
    tables.check_unique(path, "clip_id", [row["clip_id"] for row in rows])
    clips = []
    for row in rows:
        name = row["clip_id"]
        if not name or Path(name).name != name or name.startswith("."):
            raise ManifestError(f"{path}: clip_id {name!r} cannot be a file name")
        if not row["split"]:
            raise ManifestError(f"{path}: clip {name} has no split")
        sound = find_sound(root, name, row.get("path"))
        optional = (row.get(column, "").strip() for column in ("artist", "mixed_artist", "recording"))
        clips.append(Clip(name, row["split"], row.get("kind") or "all", sound, *optional))
    _check_artists(path, clips)
    return tuple(clips)


def _check_artists(path: Path, clips: Sequence[Clip]) -> None:
    """Raise ManifestError if the recordings of an artist are in two splits: scores would reward recognizing it."""
    splits: dict[str, str] = {}
    for clip in clips:
        for artist in filter(None, (clip.artist, clip.mixed_artist) if clip.kind != RENDERED else ()):
            first = splits.setdefault(artist, clip.split)
            if first != clip.split:
                raise ManifestError(
                    f"{path}: artist {artist!r} is in the splits {first!r} and {clip.split!r}: keep all clips of an"
                    " artist in one"
                )


def find_sound(root: Path, name: str, path: str | None) -> Path:
    """Return the sound file of a clip: `path` below `root` if it is given. Raises ManifestError if there is none."""
    candidates = [root / path] if path else [root / "audio" / (name + end) for end in AUDIO_SUFFIXES]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ManifestError(f"{root}: clip {name} has no sound at {candidates[0]}")


def _read_hard_targets(path: Path, index: dict[str, int], tags: tuple[str, ...]) -> Array:
    rows = tables.read_rows(path, ("clip_id", *tags))
    _check_complete(path, [row["clip_id"] for row in rows], index)
    values = np.zeros((1, len(index), len(tags)), dtype=np.float32)
    for row in rows:
        for column, tag in enumerate(tags):
            if row[tag] not in ("0", "1"):
                raise ManifestError(f"{path}: clip {row['clip_id']}, tag {tag}: {row[tag]!r} is neither 0 nor 1")
            if row["clip_id"] in index:
                values[0, index[row["clip_id"]], column] = float(row[tag])
    return values


def _read_soft_targets(path: Path, index: dict[str, int], tags: tuple[str, ...]) -> tuple[Array, WindowTargets | None]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ManifestError(f"{path}: not a plain numpy archive: {error}") from error
    if "clip_id" not in arrays or arrays["clip_id"].dtype.kind != "U" or arrays["clip_id"].ndim != 1:
        raise ManifestError(f"{path}: needs clip_id, a one-dimensional array of text")
    names = [str(name) for name in arrays.pop("clip_id")]
    _check_complete(path, names, index)
    place = {name: row for row, name in enumerate(names)}
    rows = np.array([place[name] for name in index])
    times = {name: arrays.pop(name) for name in ("window_s", "hop_s") if name in arrays}
    teachers: list[Array] = []
    windowed: list[Array] = []
    for name, values in arrays.items():
        is_windowed = name.endswith("_windows")
        windows = values.shape[1] if values.ndim == 3 else "windows"
        expected = (len(names), windows, len(tags)) if is_windowed else (len(names), len(tags))
        if values.shape != expected or values.dtype.kind not in "fiub":
            raise ManifestError(f"{path}: {name} is {values.dtype}{list(values.shape)}, not numbers {list(expected)}")
        kept = values[rows].astype(np.float32)
        if not np.isfinite(kept).all() or kept.min() < 0 or kept.max() > 1:
            raise ManifestError(f"{path}: {name} holds values that are no probabilities")
        (windowed if is_windowed else teachers).append(kept)
    if not teachers:
        raise ManifestError(f"{path}: no array [clips, tags] in it")
    if not windowed:
        return np.stack(teachers), None
    seconds = [float(times[name]) if name in times and times[name].size == 1 else 0.0 for name in ("window_s", "hop_s")]
    if min(seconds) <= 0:
        raise ManifestError(f"{path}: window targets need window_s and hop_s, both above 0")
    if len({values.shape for values in windowed}) > 1:
        raise ManifestError(f"{path}: window targets of different shapes")
    return np.stack(teachers), WindowTargets(np.mean(windowed, axis=0), *seconds)


def _read_facts(path: Path, index: dict[str, int], tags: tuple[str, ...]) -> NDArray[np.int8]:
    facts = np.zeros((len(index), len(tags)), dtype=np.int8)
    if not path.exists():
        return facts
    rows = tables.read_rows(path, ("clip_id", "true_tags", "false_tags"))
    tables.check_unique(path, "clip_id", [row["clip_id"] for row in rows])
    columns = {tag: i for i, tag in enumerate(tags)}
    for row in rows:
        for value, field in ((1, "true_tags"), (-1, "false_tags")):
            for tag in filter(None, row[field].split(";")):
                if tag not in columns:
                    raise ManifestError(f"{path}: clip {row['clip_id']}: unknown tag {tag!r}")
                if row["clip_id"] not in index:
                    continue  # the clip belongs to another data set
                place = index[row["clip_id"]], columns[tag]
                if facts[place] == -value:
                    raise ManifestError(f"{path}: clip {row['clip_id']}: tag {tag!r} is both true and false")
                facts[place] = value
    return facts


def _check_complete(path: Path, names: list[str], index: dict[str, int]) -> None:
    tables.check_unique(path, "clip_id", names)
    for name in index.keys() - set(names):
        raise ManifestError(f"{path}: no targets for clip {name}")
