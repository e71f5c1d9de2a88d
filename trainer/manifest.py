"""A data set for training: a folder that describes itself.

MagnaTagATune is read as it is published (`download` fetches it):

    annotations_final.csv   clip_id, 188 tags, mp3_path; the 50 most frequent
                            tags are learned
    clip_info_final.csv     the artists
    0/ ... f/               the MP3s; folders 0-b train, c valid, d-f test

Any other data set has the trainer's own format:

    clips.csv     one line a clip. Needed columns: clip_id, split (train,
                  valid, test, or any other word). Used if there: kind (scores
                  are reported for each), artist (intervals are drawn by it),
                  path (of the sound, relative to the folder). All others
                  (source, ...) are ignored.
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

from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import ManifestError

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """One clip. path: of its sound. artist: empty if unknown."""

    clip_id: str
    split: str
    kind: str
    path: Path
    artist: str = ""


@dataclass(frozen=True)
class Windows:
    """Targets that change over time. values [n, W, C]; window k: seconds k·hop_s to k·hop_s + window_s."""

    values: Array
    window_s: float
    hop_s: float


@dataclass(frozen=True)
class Manifest:
    """teachers [K, n, C]: probabilities in [0, 1], or 0 and 1; facts [n, C]: 1 true, -1 false, 0 unknown.

    about: the data set and its split in a line, to stand beside every result. notes: what a reader should know of
    it, a line each: clips left out, counts that are not those expected.
    """

    root: Path
    tags: tuple[str, ...]
    clips: tuple[Clip, ...]
    teachers: Array
    windows: Windows | None
    facts: NDArray[np.int8]
    about: str = ""
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> NDArray[np.int64]:
        """Indices of the clips in a split; raises ManifestError if there are none."""
        found = np.array([i for i, clip in enumerate(self.clips) if clip.split == name], dtype=np.int64)
        if not len(found):
            known = ", ".join(sorted({clip.split for clip in self.clips}))
            raise ManifestError(f"{self.root}: no clip in split {name!r}, only in: {known}")
        return found

    def without(self, clip_ids: Container[str]) -> Self:
        """The same without some clips."""
        kept = np.array([i for i, clip in enumerate(self.clips) if clip.clip_id not in clip_ids], dtype=np.int64)
        if len(kept) == len(self.clips):
            return self
        windows = self.windows and replace(self.windows, values=self.windows.values[kept])
        clips = tuple(self.clips[i] for i in kept)
        return replace(self, clips=clips, teachers=self.teachers[:, kept], windows=windows, facts=self.facts[kept])


def read_dataset(root: Path) -> Manifest:
    """Read and check a folder in either format; raises ManifestError naming the first thing that does not fit."""
    from trainer import clip_folder, magnatagatune  # they import this module

    if not root.is_dir():
        raise ManifestError(f"{root}: no such folder")
    if (root / magnatagatune.ANNOTATIONS).exists():
        return magnatagatune.read(root)
    if not (root / "clips.csv").exists():
        raise ManifestError(f"{root}: no data set: neither {magnatagatune.ANNOTATIONS} nor clips.csv is in it")
    return clip_folder.read(root)
