"""The feature cache: frames of every clip, before normalisation, and of augmented passes over the training clips.

    CACHE/FRONT/settings.json    what the frames were made with; another setting is refused
    CACHE/FRONT/pass-00.*        all clips as they are, in the manifest's order
    CACHE/FRONT/pass-01.* ...    training clips, each changed by its own seeded recipe

`features.frame_store` describes the files of a pass, `features.extraction` fills them. A clip that does not decode
has a line that says why, and no frames; the cache's manifest is without it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from streamtag.errors import ManifestError, OutputError
from trainer.data.manifest import Manifest
from trainer.features import augmentation
from trainer.features.frame_store import FrameStore, Half
from trainer.features.frontends import frontend

TRAIN = "train"  # the split that gets augmented passes
AGAIN = "remove it or name another folder"


@dataclass(frozen=True)
class CacheSettings:
    """Everything the cached numbers depend on beside the audio. names: a checksum of the clips' names and splits."""

    front: str
    spec: dict[str, Any]
    augmentation: int
    seed: int
    clips: int
    names: int
    format: int = 2


@dataclass(frozen=True)
class Pass:
    """Frames of one pass. values [frames, P] float16: features times the front end's `scale`, mapped from the file.

    spans: the rows from which to which a clip has; clips that do not decode have none.
    """

    values: Half
    spans: dict[str, tuple[int, int]]


class Cache:
    """The frames of one manifest through one front end, in one folder; made if it is not there.

    manifest, index (clip_id -> place in it): without the clips that turned out not to decode, which are `dropped`
    (clip_id -> reason). everything: the manifest as it was given. training: clip ids whose passes are augmented.

    Raises ManifestError if the folder holds frames that were made with other settings.
    """

    def __init__(self, root: Path, manifest: Manifest, front: str, seed: int) -> None:
        self.root, self.everything, self.front = root, manifest, frontend(front)
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
        file = self.folder / "settings.json"
        if file.exists():
            self._compare(file)
        else:
            self._write(file)
        self.refresh()

    def refresh(self) -> None:
        """Look again at what is on the disk."""
        self._passes: dict[int, Pass] = {}
        entries = self.store(0).entries()
        self.dropped = {entry.clip_id: entry.problem for entry in entries if entry.problem}
        self.manifest = self.everything.without(self.dropped)
        self.index = {clip.clip_id: i for i, clip in enumerate(self.manifest.clips)}

    def _compare(self, file: Path) -> None:
        try:
            found = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise ManifestError(f"{file}: cannot be read: {error}") from error
        for name, old, new in _differences(found, asdict(self.settings)):
            raise ManifestError(f"{self.folder}: made with {name} = {old}, not {new}: {AGAIN}")

    def _write(self, file: Path) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            aside = file.with_name(f".{file.name}")
            aside.write_text(json.dumps(asdict(self.settings), indent=1) + "\n")
            aside.replace(file)
        except OSError as error:
            raise OutputError(f"{file}: cannot be written: {error.strerror or error}") from error

    def store(self, passage: int) -> FrameStore:
        return FrameStore(self.folder / f"pass-{passage:02d}.frames", self.front.size)

    def order(self, passage: int) -> tuple[str, ...]:
        """The clips of a pass in the order of its store."""
        return self.training if passage else tuple(self._sounds)

    def sound(self, clip_id: str) -> Path:
        return self._sounds[clip_id]

    def recipe(self, passage: int, clip_id: str) -> augmentation.AudioAugmentation:
        """What was done to a clip in a pass; pass 0 changes nothing. A partner that does not decode is not heard."""
        if passage == 0:
            return augmentation.AudioAugmentation()
        recipe = augmentation.draw(augmentation.chance(self.settings.seed, passage, clip_id), self.training)
        return replace(recipe, partner=None) if recipe.partner in self.dropped else recipe

    def passes(self) -> int:
        """How many augmented passes are complete."""
        done = 0
        while self.training and len(self.store(done + 1).entries()) == len(self.training):
            done += 1
        return done

    def frames(self, passage: int) -> Pass:
        """A whole pass, as far as it is there. Raises ManifestError if nothing of it is."""
        if passage not in self._passes:
            store = self.store(passage)
            entries = store.entries()
            if not entries:
                raise ManifestError(f"{store.path}: no cached frames: {self._advice}")
            ends = np.cumsum([entry.frames for entry in entries])
            self._passes[passage] = Pass(
                store.map(),
                {
                    entry.clip_id: (int(end) - entry.frames, int(end))
                    for entry, end in zip(entries, ends, strict=True)
                    if not entry.problem
                },
            )
        return self._passes[passage]

    def read(self, passage: int, clip_id: str) -> NDArray[np.float32]:
        """Frames [F, P]. Raises ManifestError if they are not there."""
        found = self.frames(passage)
        if clip_id not in found.spans:
            raise ManifestError(f"{self.store(passage).path}: no frames of clip {clip_id}: {self._advice}")
        start, stop = found.spans[clip_id]
        return np.asarray(found.values[start:stop], dtype=np.float32) / np.float32(self.front.scale)

    @property
    def _advice(self) -> str:
        front = "" if self.front.name == "scattering" else f" --front {self.front.name}"
        return f"run `python -m trainer prepare {self.everything.root}{front}` first"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes meanwhile. Raises OutputError if somebody does."""
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                yield
        except Timeout as error:
            raise OutputError(f"{self.folder}: another process is writing to it") from error


def _differences(found: Any, wanted: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name, found and wanted value of what differs, dicts inside dicts by dotted names."""
    found = found if isinstance(found, dict) else {}
    for name in sorted(wanted.keys() | found.keys()):
        old, new = found.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{above}{name}.")
        elif old != new:
            yield f"{above}{name}", old, new
