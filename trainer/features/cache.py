"""The feature cache: frames of every clip, before normalization, and of augmented passes over the training clips.

    CACHE/FRONT/settings.json    what the frames were computed with; other settings are refused
    CACHE/FRONT/pass-00.*        all clips unchanged, in the manifest's order
    CACHE/FRONT/pass-01.* ...    training clips, each with its own seeded augmentation

`features.frame_store` describes the files of a pass, `features.extraction` fills them. If a sound file is replaced, the
passes are cut off before the first clip that was computed from it. A clip that does not decode has
a line with the reason and no frames; the cache's manifest leaves it out.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import ManifestError
from trainer.data.manifest import TRAIN, Manifest
from trainer.features import augmentation
from trainer.features.augmentation import AudioAugmentation
from trainer.features.fingerprint import renewed
from trainer.features.frame_store import FrameStore, Half
from trainer.features.frontends import frontend
from trainer.files import keep_settings

MAX_PASSES = 99  # augmented ones


@dataclass(frozen=True)
class CacheSettings:
    """Everything the cached numbers depend on beside the audio. `names`: a checksum of the clips' names and splits."""

    front: str
    spec: dict[str, Any]
    augmentation: int
    seed: int
    clips: int
    names: int
    format: int = 2


@dataclass(frozen=True)
class Pass:
    """Frames of one pass. `values` [frames, P] float16: features times the frontend's `scale`, memory-mapped.

    `spans`: the first row and the row after the last of each clip; clips that do not decode have none.
    """

    values: Half
    spans: dict[str, tuple[int, int]]


class Cache:
    """The frames of one manifest through one frontend, in one folder, which is created if needed.

    `full_manifest` is the manifest as given. `manifest` and `index` (clip_id: its index) leave out the clips that
    turned out not to decode, which are `dropped` (clip_id: reason). `training` lists the clips that are augmented,
    `changed` those whose sound files are no longer the ones that the frames were computed from.
    """

    def __init__(self, root: Path, manifest: Manifest, front: str, seed: int) -> None:
        """Open or create the folder. Raises ManifestError if its frames were computed with other settings."""
        self.root, self.full_manifest, self.front = root, manifest, frontend(front)
        self.folder = root / front
        self.training = tuple(clip.clip_id for clip in manifest.clips if clip.split == TRAIN)
        self._sounds = {clip.clip_id: clip.path for clip in manifest.clips}
        names = "\n".join(f"{clip.clip_id} {clip.split}" for clip in manifest.clips)
        self.settings = CacheSettings(
            front,
            self.front.spec.to_dict(),
            augmentation.VERSION,
            seed,
            len(manifest.clips),
            zlib.crc32(names.encode()),
        )
        keep_settings(self.folder / "settings.json", asdict(self.settings))
        self.refresh()

    def refresh(self) -> None:
        """Read again what is on the disk."""
        self._passes: dict[int, Pass] = {}
        entries = self.store(0).entries()
        found = {e.clip_id: renewed(self._sounds[e.clip_id], e.fingerprint) for e in entries}
        self.changed = frozenset(clip_id for clip_id, fingerprint in found.items() if fingerprint is None)
        self._entries = [replace(entry, fingerprint=found[entry.clip_id] or "") for entry in entries]
        self.dropped = {entry.clip_id: entry.problem for entry in entries if entry.problem}
        self.manifest = self.full_manifest.without(self.dropped)
        self.index = {clip.clip_id: i for i, clip in enumerate(self.manifest.clips)}

    def store(self, number: int) -> FrameStore:
        """Return the frame store of a pass."""
        return FrameStore(self.folder / f"pass-{number:02d}.frames", self.front.size)

    def order(self, number: int) -> tuple[str, ...]:
        """Return the clips of a pass in the order of its store."""
        return self.training if number else tuple(self._sounds)

    def sound(self, clip_id: str) -> Path:
        return self._sounds[clip_id]

    def augmentation(self, number: int, clip_id: str) -> AudioAugmentation:
        """Return the changes of a clip in a pass, none in pass 0. A partner that does not decode is left out."""
        if number == 0:
            return AudioAugmentation()
        drawn = self._drawn(number, clip_id)
        return replace(drawn, partner=None) if drawn.partner in self.dropped else drawn

    def _drawn(self, number: int, clip_id: str) -> AudioAugmentation:
        return augmentation.draw(augmentation.generator(self.settings.seed, number, clip_id), self.training)

    def passes(self) -> list[int]:
        """Return the numbers of the passes of which something exists."""
        return [number for number in range(MAX_PASSES + 1) if self.store(number).index_path.exists()]

    def valid_entries(self, number: int) -> int:
        """Return how many entries of a pass precede the first that was computed from a sound that has changed."""
        entries = self.store(number).entries()
        for position, entry in enumerate(entries if self.changed else ()):
            used = {entry.clip_id} | ({self._drawn(number, entry.clip_id).partner} if number else set())
            if used & self.changed:
                return position
        return len(entries)

    def renew_fingerprints(self) -> None:
        """Store the present times of sound files that were copied or touched, so that they are not read again."""
        if self._entries and not self.changed:
            self.store(0).replace_entries(self._entries)

    def complete_passes(self) -> int:
        """Return the number of complete augmented passes."""
        done = 0
        while self.training and len(self.store(done + 1).entries()) == len(self.training):
            done += 1
        return done

    def frames(self, number: int) -> Pass:
        """Return a pass as far as it exists. Raises ManifestError if nothing of it does."""
        if number not in self._passes:
            store = self.store(number)
            entries = store.entries()
            if not entries:
                raise ManifestError(f"{store.path}: no cached frames: {self._advice}")
            if self.changed:
                others = f" and of {len(self.changed) - 1:,} others" if len(self.changed) > 1 else ""
                raise ManifestError(
                    f"{self._sounds[min(self.changed)]}: its sound{others} is not the one in the cache: {self._advice}"
                )
            ends = np.cumsum([entry.frames for entry in entries]).tolist()
            spans = {e.clip_id: (end - e.frames, end) for e, end in zip(entries, ends, strict=True) if not e.problem}
            self._passes[number] = Pass(store.map(), spans)
        return self._passes[number]

    def read(self, number: int, clip_id: str) -> NDArray[np.float32]:
        """Return the frames [F, P] of a clip in a pass. Raises ManifestError if there are none."""
        found = self.frames(number)
        if clip_id not in found.spans:
            raise ManifestError(f"{self.store(number).path}: no frames of clip {clip_id}: {self._advice}")
        start, stop = found.spans[clip_id]
        return np.asarray(found.values[start:stop], dtype=np.float32) / np.float32(self.front.scale)

    @property
    def _advice(self) -> str:
        front = "" if self.front.name == "scattering" else f" --front {self.front.name}"
        return f"run `python -m trainer prepare {self.full_manifest.root}{front}` first"
