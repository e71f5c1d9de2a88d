"""Data sets in the trainer's own format: clips.csv, tags.txt, targets and sounds. See trainer.data.dataset."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import ManifestError
from trainer.data import tables
from trainer.data.manifest import Array, Clip, Manifest, Windows

AUDIO_SUFFIXES = (".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a")


def read(root: Path) -> Manifest:
    """Read and check the folder; raises ManifestError naming the first thing that does not fit."""
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
    return Manifest(root, tags, clips, teachers, windows, _facts(root / "facts.csv", order, tags), about=root.name)


def _tags(path: Path) -> tuple[str, ...]:
    tags = tuple(line.strip() for line in tables.text(path).splitlines() if line.strip())
    if not tags:
        raise ManifestError(f"{path}: no tags in it")
    tables.once(path, "tag", tags)
    return tags


def _clips(root: Path) -> tuple[Clip, ...]:
    path = root / "clips.csv"
    rows = tables.rows(path, ("clip_id", "split"))
    if not rows:
        raise ManifestError(f"{path}: no clips in it")
    tables.once(path, "clip_id", [row["clip_id"] for row in rows])
    clips = []
    for row in rows:
        name = row["clip_id"]
        if not name or Path(name).name != name or name.startswith("."):
            raise ManifestError(f"{path}: clip_id {name!r} cannot be a file name")
        if not row["split"]:
            raise ManifestError(f"{path}: clip {name} has no split")
        clips.append(Clip(name, row["split"], row.get("kind") or "all", _sound(root, row), row.get("artist", "")))
    return tuple(clips)


def _sound(root: Path, row: dict[str, str]) -> Path:
    named = row.get("path")
    tried = [root / named] if named else [root / "audio" / (row["clip_id"] + end) for end in AUDIO_SUFFIXES]
    for candidate in tried:
        if candidate.is_file():
            return candidate
    raise ManifestError(f"{root}: clip {row['clip_id']} has no sound at {tried[0]}")


def _hard_targets(path: Path, order: dict[str, int], tags: tuple[str, ...]) -> Array:
    rows = tables.rows(path, ("clip_id", *tags))
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
    rows = tables.rows(path, ("clip_id", "true_tags", "false_tags"))
    tables.once(path, "clip_id", [row["clip_id"] for row in rows])
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
    tables.once(path, "clip_id", names)
    for name in order.keys() - set(names):
        raise ManifestError(f"{path}: no targets for clip {name}")
