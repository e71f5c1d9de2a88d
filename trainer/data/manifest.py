"""What a data set contains: its clips, tags and targets."""

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
