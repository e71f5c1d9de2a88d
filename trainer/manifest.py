"""A data set for training: a folder that describes itself.

    clips.csv     one line a clip. Needed columns: clip_id, split (train,
                  valid, or any other word). Used if there: kind (scores are
                  reported for each), path (of the sound, relative to the
                  folder). All others (artist, source, ...) are ignored.
    tags.txt      one tag a line, in the order of the model's outputs
    audio/        CLIP_ID.mp3 (or .wav .flac .ogg .opus .m4a), unless
                  clips.csv has path; any sample rate and channels
    targets.csv   hard targets: clip_id, and 0 or 1 in a column for each tag
    targets.npz   or soft targets: clip_id [n] (text), one or more float
                  arrays [n, tags] of probabilities (several teachers are
                  averaged), and, if they change over time, also arrays
                  NAME_windows [n, windows, tags] with the numbers window_s
                  and hop_s: window k tells about the seconds k * hop_s to
                  k * hop_s + window_s of the clip
    facts.csv     optional: clip_id, true_tags, false_tags, each a list
                  joined with ";": what is known for certain about some
                  clips; corrects soft targets

No clip may be in two splits; keep all clips of an artist in one.
Numpy files are read without pickle.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import ManifestError

AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a")

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """One line of clips.csv. path: of its sound."""

    clip_id: str
    split: str
    kind: str
    path: Path


@dataclass(frozen=True)
class Windows:
    """Targets that change over time. values [n, W, C]; window k: seconds k·hop_s to k·hop_s + window_s."""

    values: Array
    window_s: float
    hop_s: float


@dataclass(frozen=True)
class Manifest:
    """teachers [K, n, C]: probabilities in [0, 1], or 0 and 1; facts [n, C]: 1 true, -1 false, 0 unknown."""

    root: Path
    tags: tuple[str, ...]
    clips: tuple[Clip, ...]
    teachers: Array
    windows: Windows | None
    facts: NDArray[np.int8]

    def split(self, name: str) -> NDArray[np.int64]:
        """Indices of the clips in a split; raises ManifestError if there are none."""
        found = np.array([i for i, clip in enumerate(self.clips) if clip.split == name], dtype=np.int64)
        if not len(found):
            known = ", ".join(sorted({clip.split for clip in self.clips}))
            raise ManifestError(f"{self.root}: no clip in split {name!r}, only in: {known}")
        return found


def read_manifest(root: Path) -> Manifest:
    """Read and check the folder; raises ManifestError naming the first thing that does not fit."""
    if not root.is_dir():
        raise ManifestError(f"{root}: no such folder")
    tags = _tags(root / "tags.txt")
    clips = _clips(root)
    order = {clip.clip_id: i for i, clip in enumerate(clips)}
    hard, soft = root / "targets.csv", root / "targets.npz"
    if hard.exists() == soft.exists():
        raise ManifestError(f"{root}: needs either targets.csv or targets.npz")
    windows = None
    if hard.exists():
        teachers = _hard_targets(hard, order, tags)
    else:
        teachers, windows = _soft_targets(soft, order, tags)
    return Manifest(root, tags, clips, teachers, windows, _facts(root / "facts.csv", order, tags))


def _tags(path: Path) -> tuple[str, ...]:
    tags = tuple(line.strip() for line in _text(path).splitlines() if line.strip())
    if not tags:
        raise ManifestError(f"{path}: no tags in it")
    _no_duplicates(path, "tag", tags)
    return tags


def _clips(root: Path) -> tuple[Clip, ...]:
    path = root / "clips.csv"
    rows = _rows(path, ("clip_id", "split"))
    if not rows:
        raise ManifestError(f"{path}: no clips in it")
    _no_duplicates(path, "clip_id", [row["clip_id"] for row in rows])
    clips = []
    for row in rows:
        name = row["clip_id"]
        if not name or Path(name).name != name or name.startswith("."):
            raise ManifestError(f"{path}: clip_id {name!r} cannot be a file name")
        if not row["split"]:
            raise ManifestError(f"{path}: clip {name} has no split")
        clips.append(Clip(name, row["split"], row.get("kind") or "all", _sound(root, row)))
    return tuple(clips)


def _sound(root: Path, row: dict[str, str]) -> Path:
    named = row.get("path")
    tried = [root / named] if named else [root / "audio" / (row["clip_id"] + end) for end in AUDIO_SUFFIXES]
    for candidate in tried:
        if candidate.is_file():
            return candidate
    raise ManifestError(f"{root}: clip {row['clip_id']} has no sound at {tried[0]}")


def _hard_targets(path: Path, order: dict[str, int], tags: tuple[str, ...]) -> Array:
    rows = _rows(path, ("clip_id", *tags))
    _covers(path, [row["clip_id"] for row in rows], order)
    values = np.zeros((1, len(order), len(tags)), dtype=np.float32)
    for row in rows:
        for column, tag in enumerate(tags):
            if row[tag] not in ("0", "1"):
                raise ManifestError(f"{path}: clip {row['clip_id']}, tag {tag}: {row[tag]!r} is neither 0 nor 1")
            if row["clip_id"] in order:
                values[0, order[row["clip_id"]], column] = float(row[tag])
    return values


def _soft_targets(path: Path, order: dict[str, int], tags: tuple[str, ...]) -> tuple[Array, Windows | None]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ManifestError(f"{path}: not a plain numpy archive: {error}") from error
    if "clip_id" not in arrays or arrays["clip_id"].dtype.kind != "U" or arrays["clip_id"].ndim != 1:
        raise ManifestError(f"{path}: needs clip_id, a one-dimensional array of text")
    names = [str(name) for name in arrays.pop("clip_id")]
    _covers(path, names, order)
    rows = np.array([names.index(name) for name in order] if names != list(order) else range(len(names)))
    times = {name: arrays.pop(name) for name in ("window_s", "hop_s") if name in arrays}
    teachers: list[Array] = []
    moving: list[Array] = []
    for name, values in arrays.items():
        windowed = name.endswith("_windows")
        shape = (len(names), values.shape[1] if windowed and values.ndim == 3 else "windows", len(tags))
        wanted = shape if windowed else (len(names), len(tags))
        if values.shape != wanted or values.dtype.kind not in "fiub":
            raise ManifestError(f"{path}: {name} is {values.dtype}{list(values.shape)}, not numbers {list(wanted)}")
        kept = values[rows].astype(np.float32)
        if not np.isfinite(kept).all() or kept.min() < 0 or kept.max() > 1:
            raise ManifestError(f"{path}: {name} holds values that are no probabilities")
        (moving if windowed else teachers).append(kept)
    if not teachers:
        raise ManifestError(f"{path}: no array [clips, tags] in it")
    if not moving:
        return np.stack(teachers), None
    seconds = [float(times[name]) if name in times and times[name].size == 1 else 0.0 for name in ("window_s", "hop_s")]
    if min(seconds) <= 0:
        raise ManifestError(f"{path}: window targets need window_s and hop_s, both above 0")
    if len({values.shape for values in moving}) > 1:
        raise ManifestError(f"{path}: window targets of different shapes")
    return np.stack(teachers), Windows(np.mean(moving, axis=0), *seconds)


def _facts(path: Path, order: dict[str, int], tags: tuple[str, ...]) -> NDArray[np.int8]:
    facts = np.zeros((len(order), len(tags)), dtype=np.int8)
    if not path.exists():
        return facts
    rows = _rows(path, ("clip_id", "true_tags", "false_tags"))
    _no_duplicates(path, "clip_id", [row["clip_id"] for row in rows])
    column = {tag: i for i, tag in enumerate(tags)}
    for row in rows:
        for value, field in ((1, "true_tags"), (-1, "false_tags")):
            for tag in filter(None, row[field].split(";")):
                if tag not in column:
                    raise ManifestError(f"{path}: clip {row['clip_id']}: unknown tag {tag!r}")
                if row["clip_id"] not in order:
                    continue  # facts of clips that are kept elsewhere
                if facts[order[row["clip_id"]], column[tag]] == -value:
                    raise ManifestError(f"{path}: clip {row['clip_id']}: tag {tag!r} is both true and false")
                facts[order[row["clip_id"]], column[tag]] = value
    return facts


def _covers(path: Path, names: list[str], order: dict[str, int]) -> None:
    _no_duplicates(path, "clip_id", names)
    for name in order.keys() - set(names):
        raise ManifestError(f"{path}: no targets for clip {name}")


def _no_duplicates(path: Path, what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ManifestError(f"{path}: {what} {value!r} twice")
        seen.add(value)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from error


def _rows(path: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    reader = csv.DictReader(_text(path).splitlines())
    missing = [name for name in needed if name not in (reader.fieldnames or ())]
    if missing:
        raise ManifestError(f"{path}: no column {missing[0]!r}")
    rows = []
    for number, row in enumerate(reader, start=2):
        if None in row or None in row.values():
            raise ManifestError(f"{path}: line {number} has another number of fields than the first line")
        rows.append(row)
    return rows
