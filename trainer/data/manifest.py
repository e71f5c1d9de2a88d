"""The contents of a data set: its clips, tags and targets."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import ManifestError

Array = NDArray[np.float32]

TRAIN, VALID, TEST = "train", "valid", "test"  # the splits that commands use by name
REAL = "real"  # the kind of recordings of real music; scores of streams leave out others beside them


@dataclass(frozen=True)
class Clip:
    """One clip. `path` is its sound file; `artist` is empty if unknown, `mixed_artist` if no other clip is mixed in.

    `recording` is what `label` cut it from, empty for other clips.
    """

    clip_id: str
    split: str
    kind: str
    path: Path
    artist: str = ""
    mixed_artist: str = ""
    recording: str = ""

    def is_by(self, artists: Container[str]) -> bool:
        """Return whether any of its music is by one of the artists."""
        return any(artist in artists for artist in (self.artist, self.mixed_artist) if artist)


@dataclass(frozen=True)
class WindowTargets:
    """Targets that change over time: `values` [n, W, C], where window k spans seconds k·hop_s to k·hop_s + window_s."""

    values: Array
    window_s: float
    hop_s: float


@dataclass(frozen=True)
class Manifest:
    """A data set as it was read.

    `teachers` [K, n, C] holds probabilities in [0, 1], or 0 and 1; `facts` [n, C] is 1 for true, -1 for false and 0
    for unknown. `description` names the data set and its split in one line, which is stored with every result.
    `notes` are further remarks for the user, such as clips that were left out or unexpected counts.
    """

    root: Path
    tags: tuple[str, ...]
    clips: tuple[Clip, ...]
    teachers: Array
    windows: WindowTargets | None
    facts: NDArray[np.int8]
    description: str = ""
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> NDArray[np.int64]:
        """Return the indices of the clips in a split. Raises ManifestError if there are none."""
        found = np.array([i for i, clip in enumerate(self.clips) if clip.split == name], dtype=np.int64)
        if not len(found):
            known = ", ".join(sorted({clip.split for clip in self.clips}))
            raise ManifestError(f"{self.root}: no clip in split {name!r}, only in: {known}")
        return found

    def without(self, clip_ids: Container[str]) -> Self:
        """Return the data set without some clips."""
        kept = np.array([i for i, clip in enumerate(self.clips) if clip.clip_id not in clip_ids], dtype=np.int64)
        if len(kept) == len(self.clips):
            return self
        windows = self.windows and replace(self.windows, values=self.windows.values[kept])
        clips = tuple(self.clips[i] for i in kept)
        return replace(self, clips=clips, teachers=self.teachers[:, kept], windows=windows, facts=self.facts[kept])
