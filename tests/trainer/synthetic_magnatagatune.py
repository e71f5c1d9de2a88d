"""A miniature MagnaTagATune in the very format that is published.

    DIR/annotations_final.csv   tab-separated, quoted: clip_id, 188 tags, mp3_path
    DIR/clip_info_final.csv     artist, album, track, title, times; also of clips that are not annotated
    DIR/0/ ... DIR/f/           MP3s, 16 kHz, mono, 32 kbit/s

Fifty tags have the names of the real top 50: the first is the most frequent one, the second the second, and so on. The
other 138 tags are rare. The columns stand in another order. Some clips have no top tag, and the three clips that are
broken in the real set are empty files, as they are there.
"""

from __future__ import annotations

import csv
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.features.audio import encode

RATE = 16000
SOUNDS = 8  # different ones; neighbours differ
BIT_RATE = 32000
FOLDERS = "0123456789abcdef"
TOP = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient",
    "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals",
    "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man",
    "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello",
    "no voice", "weird", "country", "metal", "female voice", "choral",
)  # fmt: skip
RARE = tuple(f"rare {number:03d}" for number in range(188 - len(TOP)))
BROKEN = {"35644": "6", "55753": "8", "57881": "9"}  # clip ids of the real set: folder here
SHARES = (0.6, 0.3)  # of the clips that have the first and the last of the top tags
INFO = (
    "clip_id", "track_number", "title", "artist", "album", "url", "segmentStart", "segmentEnd", "original_url",
    "mp3_path",
)  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """One clip as it is written. tags: names of the tags that it has."""

    clip_id: str
    folder: str
    artist: str
    tags: frozenset[str]

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.artist}-album-01-song_{self.clip_id}-0-29.mp3"


@dataclass(frozen=True)
class SyntheticSet:
    """What was written where: `clips` have a top tag, `untagged` have none, `broken` do not decode."""

    root: Path
    clips: tuple[Clip, ...]
    untagged: tuple[Clip, ...]
    broken: tuple[Clip, ...]

    @property
    def annotated(self) -> tuple[Clip, ...]:
        return (*self.clips, *self.untagged, *self.broken)

    def split(self, name: str) -> tuple[Clip, ...]:
        """The tagged clips of train, valid or test, by the rule of the real set."""
        return tuple(clip for clip in self.clips if split_of(clip.folder) == name)


def split_of(folder: str) -> str:
    return "train" if folder < "c" else "valid" if folder == "c" else "test"


def write_set(root: Path, clips: int = 200, seconds: float = 3.0, seed: int = 5) -> SyntheticSet:
    """Fill the folder `root`: about 60 % of the clips for training, 20 % for validation, 20 % for the test.

    There are two artists in each folder, and none in two folders.
    """
    rng = np.random.default_rng(seed)
    count = {folder: clips * (1 if folder < "c" else 4 if folder == "c" else 4 / 3) / 20 for folder in FOLDERS}
    folders = [folder for folder in FOLDERS for _ in range(max(1, round(count[folder])))]
    tagged = tuple(
        Clip(str(2 + 3 * number), folder, f"artist_{folder}{number % 2}", tags)
        for number, (folder, tags) in enumerate(zip(folders, _tags(rng, len(folders)), strict=True))
    )
    untagged = tuple(
        Clip(str(90001 + i), folder, f"artist_{folder}0", frozenset(RARE[:i])) for i, folder in enumerate("fc9")
    )
    broken = tuple(Clip(name, folder, f"artist_{folder}1", frozenset(TOP[:3])) for name, folder in BROKEN.items())
    dataset = SyntheticSet(root, tagged, untagged, broken)
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    sounding = (*tagged, *untagged)
    for number, clip in enumerate(sounding):
        if number < SOUNDS:
            noise = rng.normal(0, 0.1, round(seconds * RATE)).astype(np.float32)
            encode(noise, RATE, "mp3", BIT_RATE, root / clip.path)
        else:
            shutil.copyfile(root / sounding[number % SOUNDS].path, root / clip.path)
    for clip in broken:
        (root / clip.path).write_bytes(b"")
    write_annotations(dataset, rng)
    return dataset


def _tags(rng: np.random.Generator, clips: int) -> list[frozenset[str]]:
    """Every clip has one of the top tags, as far as chance goes."""
    tags: list[set[str]] = [set() for _ in range(clips)]
    for tag, share in zip(TOP, np.linspace(*SHARES, len(TOP)), strict=True):
        for clip in rng.permutation(clips)[: round(share * clips)]:
            tags[clip].add(tag)
    for tag in RARE:
        tags[int(rng.integers(clips))].add(tag)
    return [frozenset(clip) for clip in tags]


def write_annotations(dataset: SyntheticSet, rng: np.random.Generator) -> None:
    """Both tables, the tags' columns in an order of chance."""
    order = [(*TOP, *RARE)[i] for i in rng.permutation(188)]
    rows: list[Sequence[str]] = [("clip_id", *order, "mp3_path")]
    rows += [
        (clip.clip_id, *("1" if tag in clip.tags else "0" for tag in order), clip.path)
        for clip in sorted(dataset.annotated, key=lambda clip: int(clip.clip_id))
    ]
    _write(dataset.root / "annotations_final.csv", rows)
    infos: list[Sequence[str]] = [INFO]
    for clip in dataset.annotated:
        artist = clip.artist.replace("_", " ")
        infos.append((clip.clip_id, "1", f"Song {clip.clip_id}", artist, "Album", "", "0", "29", "", clip.path))
    infos.append(("99999", "1", "Never annotated", "Somebody", "Album", "", "0", "29", "", ""))
    _write(dataset.root / "clip_info_final.csv", infos)


def _write(path: Path, rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)


def publish(dataset: SyntheticSet, site: Path) -> Path:
    """The files as the host has them: the two tables, and one zip of the MP3s cut into three parts of bytes."""
    site.mkdir(parents=True)
    for name in ("annotations_final.csv", "clip_info_final.csv"):
        (site / name).write_bytes((dataset.root / name).read_bytes())
    whole = site / "whole.zip"
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in FOLDERS:
            archive.mkdir(folder)
        for path in sorted(dataset.root.glob("?/*.mp3")):
            archive.write(path, path.relative_to(dataset.root))
    content = whole.read_bytes()
    whole.unlink()
    third = len(content) // 3 + 1
    for number in range(3):
        (site / f"mp3.zip.{number + 1:03d}").write_bytes(content[number * third : (number + 1) * third])
    return site
