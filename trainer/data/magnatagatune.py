"""MagnaTagATune as published: the 50 most frequent tags, split by folder, without the clips known to be broken.

25,863 clips of 29.1 s in folders 0-9 and a-f. The usual split is by folder: 0-b train, c validation, d-f test, of the
clips that have at least one of the 50 most frequent tags: 15,247 / 1,529 / 4,332. Three of the MP3s are broken in the
archive. Song et al. (2018) print 14,951 / 1,825 / 4,332, which no rule by folder gives (1,825 is all of folder c,
tagged or not).
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import ManifestError
from trainer.data import tables
from trainer.data.manifest import Clip, Manifest

ANNOTATIONS = "annotations_final.csv"
CLIP_INFO = "clip_info_final.csv"
SPLITS = {"train": "0123456789ab", "valid": "c", "test": "def"}
BROKEN = frozenset({"35644", "55753", "57881"})  # clip ids whose MP3s are broken in the archive
TAGS = 50
CLIPS = 25_863  # of the whole set
TAGGED = {"train": 15_247, "valid": 1_529, "test": 4_332}  # of these, with a top tag, the broken ones among them
AUDIO_FOLDERS = ("", "mp3", "audio")  # below the root, where people unpack the archive
MP3_PATH = re.compile(r"[0-9a-f]/[^/\\\0]+\.mp3")
DESCRIPTION = (
    "MagnaTagATune, 50 most frequent tags, clips with at least one of them, folders 0-b train, c valid, d-f test"
)


@dataclass(frozen=True)
class Annotations:
    """The table as published: `values` [n, tags] of 0 and 1, and `mp3s`, paths inside the archive ("f/name.mp3")."""

    clip_ids: tuple[str, ...]
    mp3s: tuple[str, ...]
    tags: tuple[str, ...]
    values: NDArray[np.uint8]

    def top(self, count: int) -> NDArray[np.int64]:
        """Return the columns of the most frequent tags in order of frequency; equal ones in the table's order."""
        return np.argsort(-self.values.sum(axis=0, dtype=np.int64), kind="stable")[:count]


def read_annotations(path: Path) -> Annotations:
    """Read the table. Raises ManifestError for a missing column, a value other than 0 and 1, or an unexpected path."""
    header, lines = tables.read_table(path, ("clip_id", "mp3_path"), "\t")
    name, mp3 = header.index("clip_id"), header.index("mp3_path")
    columns = [i for i in range(len(header)) if i not in (name, mp3)]
    if len(columns) < TAGS:
        raise ManifestError(f"{path}: {len(columns)} columns of tags, fewer than the {TAGS} that are to be learned")
    if not lines:
        raise ManifestError(f"{path}: no clips in it")
    tables.check_unique(path, "clip_id", (line[name] for line in lines))
    values = np.zeros((len(lines), len(columns)), dtype=np.uint8)
    cells_of = itemgetter(*columns)
    for row, line in zip(values, lines, strict=True):
        if not MP3_PATH.fullmatch(line[mp3]):
            where = f"{path}: clip {line[name]}: mp3_path {line[mp3]!r}"
            raise ManifestError(f"{where} is not FOLDER/NAME.mp3 with FOLDER 0-f")
        cells = cells_of(line)
        if set(cells) - {"0", "1"}:
            wrong = next(i for i in columns if line[i] not in ("0", "1"))
            where = f"{path}: clip {line[name]}, tag {header[wrong]}"
            raise ManifestError(f"{where}: {line[wrong]!r} is neither 0 nor 1")
        row[:] = np.frombuffer("".join(cells).encode(), dtype=np.uint8) - ord("0")
    return Annotations(
        tuple(line[name] for line in lines),
        tuple(line[mp3] for line in lines),
        tuple(header[i] for i in columns),
        values,
    )


def read(root: Path) -> Manifest:
    """Read and check the folder. Raises ManifestError naming the first thing that is wrong."""
    path = root / ANNOTATIONS
    table = read_annotations(path)
    top = table.top(TAGS)
    tags = tuple(table.tags[i] for i in top)
    targets = table.values[:, top]
    tagged = [int(i) for i in np.flatnonzero(targets.any(axis=1))]
    kept = [i for i in tagged if table.clip_ids[i] not in BROKEN]
    if not kept:
        raise ManifestError(f"{path}: no clip with one of the {TAGS} most frequent tags in it")
    artists = _read_artists(root / CLIP_INFO)
    clips = tuple(
        Clip(table.clip_ids[i], split_of(table.mp3s[i]), "all", sound, artists.get(table.clip_ids[i], ""))
        for i, sound in zip(kept, _find_sounds(root, table, kept), strict=True)
    )
    hard = targets[kept].astype(np.float32)
    notes = (
        *count_notes(table, tagged),
        *_broken_note([table.clip_ids[i] for i in tagged if table.clip_ids[i] in BROKEN]),
        *_artist_note(clips),
        *_unscorable_notes(clips, hard, tags),
    )
    return Manifest(root, tags, clips, hard[None], None, np.zeros(hard.shape, np.int8), DESCRIPTION, notes)


def split_of(mp3: str) -> str:
    """Return the split of a path inside the archive."""
    return next(split for split, folders in SPLITS.items() if mp3[0] in folders)


def _find_sounds(root: Path, table: Annotations, kept: Sequence[int]) -> list[Path]:
    """Return the paths of the MP3s. Raises ManifestError with the first missing one and the number of others."""
    folders = [root / name for name in AUDIO_FOLDERS]
    folder = next((f for f in folders if any((f / table.mp3s[i]).is_file() for i in kept)), root)
    sounds = [folder / table.mp3s[i] for i in kept]
    missing = [i for i, sound in zip(kept, sounds, strict=True) if not sound.is_file()]
    if missing:
        others = f" (nor have {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise ManifestError(
            f"{root}: clip {table.clip_ids[missing[0]]} has no sound at {folder / table.mp3s[missing[0]]}{others}: "
            f"`python -m trainer download {root}` fetches what is missing"
        )
    return sounds


def _read_artists(path: Path) -> dict[str, str]:
    """Return the artists by clip id, or none without the table. A damaged line only loses its own clip's artist."""
    if not path.exists():
        return {}
    try:
        lines = csv.DictReader(io.StringIO(path.read_text("utf-8-sig", "replace"), newline=""), delimiter="\t")
        found = {row["clip_id"]: (row["artist"] or "").strip() for row in lines}
    except KeyError as error:
        raise ManifestError(f"{path}: no column {error}") from error
    except (OSError, csv.Error) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from error
    return found


def count_notes(table: Annotations, tagged: Sequence[int]) -> Iterator[str]:
    """Yield the counts, and a warning if they are not those of the published set. tagged: rows with a top tag."""
    counts = Counter(split_of(table.mp3s[i]) for i in tagged)
    parts = " / ".join(f"{counts[split]:,}" for split in SPLITS)
    yield f"{len(table.clip_ids):,} clips annotated, {len(tagged):,} with a top tag: {parts} (train / valid / test)"
    if len(table.clip_ids) == CLIPS and counts != TAGGED:
        expected = " / ".join(f"{count:,}" for count in TAGGED.values())
        yield f"warning: these are not the {expected} of the usual split: scores do not compare with published ones"
    if len(table.clip_ids) != CLIPS:
        yield f"warning: the whole set has {CLIPS:,} clips: scores do not compare with published ones"


def _broken_note(broken: Sequence[str]) -> Iterator[str]:
    if broken:
        yield f"left out: {', '.join(broken)}: known to be broken in the archive"


def _artist_note(clips: Sequence[Clip]) -> Iterator[str]:
    if unknown := sum(not clip.artist for clip in clips):
        yield f"warning: no artist known of {unknown:,} clips ({CLIP_INFO}): each counts as an artist of its own"
    splits = Counter(artist for artist, _ in {(clip.artist, clip.split) for clip in clips if clip.artist})
    if shared := sum(count > 1 for count in splits.values()):
        yield f"warning: {shared:,} of {len(splits):,} artists are in more than one split: scores are optimistic"


def _unscorable_notes(clips: Sequence[Clip], targets: NDArray[np.float32], tags: Sequence[str]) -> Iterator[str]:
    """Name the splits in which a tag has no positive or no negative clip, so that its scores are undefined there."""
    for split in SPLITS:
        rows = targets[[clip.split == split for clip in clips]]
        for tag, share in zip(tags, rows.mean(axis=0) if len(rows) else (), strict=bool(len(rows))):
            if share in (0.0, 1.0):
                yield f"warning: {split}: {'no' if share == 0 else 'every'} clip has {tag!r}: it cannot be scored there"
