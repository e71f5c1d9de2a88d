"""A miniature MagnaTagATune in the very format that is published, with a rule in it that can be learned.

    DIR/annotations_final.csv   tab-separated, quoted: clip_id, 188 tags, mp3_path
    DIR/clip_info_final.csv     artist, album, track, title, times; also of clips that are not annotated
    DIR/0/ ... DIR/f/           MP3s, 16 kHz, mono, 32 kbit/s

Fifty tags have the names of the real top 50 and follow from the sound: each says that one of four traits (high,
noisy, trembling, whistling) is above its own level, and the levels make the first tag the most frequent one, the
second the second, and so on. The other 138 tags are rare and chance. The columns stand in another order. Some clips
have no tag at all, and the three clips that are broken in the real set are empty files, as they are there.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.features.audio import encode

RATE = 16000
BIT_RATE = 32000
FOLDERS = "0123456789abcdef"
TRAITS = ("high", "noisy", "trembling", "whistling")
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

Traits = NDArray[np.float64]


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
    traits = _traits(rng, len(folders))
    tags = _tags(traits, rng)
    made = tuple(
        Clip(str(2 + 3 * number), folder, f"artist_{folder}{number % 2}", tags[number])
        for number, folder in enumerate(folders)
    )
    quiet = tuple(
        Clip(str(90001 + i), FOLDERS[-1 - 3 * i], f"artist_{FOLDERS[-1 - 3 * i]}0", frozenset(RARE[:i]))
        for i in range(3)
    )
    broken = tuple(Clip(name, folder, f"artist_{folder}1", frozenset(TOP[:3])) for name, folder in BROKEN.items())
    tagged = tuple(clip for clip in made if clip.tags & set(TOP))
    untagged = tuple(clip for clip in made if clip not in tagged)
    dataset = SyntheticSet(root, tagged, untagged + quiet, broken)
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    sounding = zip((*made, *quiet), (*traits, *np.zeros((len(quiet), len(TRAITS)))), strict=True)
    with ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(encode, sound(of_clip, rng, seconds), RATE, "mp3", BIT_RATE, root / clip.path)
            for clip, of_clip in sounding
        ]
    for job in jobs:
        job.result()
    for clip in broken:
        (root / clip.path).write_bytes(b"")
    write_annotations(dataset, rng)
    return dataset


def sound(traits: Traits, rng: np.random.Generator, seconds: float) -> NDArray[np.float32]:
    """A tone that is as high, noisy, trembling and whistling as the traits (0 to 1) say, at a random level."""
    high, noisy, trembling, whistling = traits
    times = np.arange(round(seconds * RATE)) / RATE
    hz = 110.0 * 2.0 ** (4.0 * high)
    samples = np.sin(2 * np.pi * hz * times + rng.uniform(0, 2 * np.pi))
    samples *= 1.0 - 0.98 * trembling * (0.5 + 0.5 * np.cos(2 * np.pi * 6.0 * times))
    samples += 0.0003 * 10.0 ** (2.5 * noisy) * rng.standard_normal(len(times))
    samples += 0.001 * 10.0 ** (2.5 * whistling) * np.sin(2 * np.pi * 4500.0 * times)
    level = rng.uniform(0.2, 0.8) / np.abs(samples).max()
    return np.asarray(samples * level, dtype=np.float32)


def _traits(rng: np.random.Generator, clips: int) -> Traits:
    """[clips, traits], each trait evenly spread over 0 to 1."""
    spread = (np.arange(clips) + 0.5) / clips
    return np.stack([rng.permutation(spread) for _ in TRAITS], axis=1)


def _tags(traits: Traits, rng: np.random.Generator) -> list[frozenset[str]]:
    """Tag k belongs to the clips whose trait k mod 4 is highest. A few clips, low in all traits, get none."""
    tags: list[set[str]] = [set() for _ in traits]
    shares = np.linspace(*SHARES, len(TOP))
    for number, tag in enumerate(TOP):
        values = traits[:, number % len(TRAITS)]
        for clip in np.flatnonzero(values > 1 - shares[number]):
            tags[clip].add(tag)
    for tag in RARE:
        tags[int(rng.integers(len(tags)))].add(tag)
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
