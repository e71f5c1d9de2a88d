"""The feature cache: scattering frames of every clip, before normalisation, and of augmented passes over
the training clips.

    CACHE/settings.json             what the frames were made with; another setting is refused
    CACHE/pass-00/CLIP_ID.npy       the clips as they are
    CACHE/pass-01/CLIP_ID.npy ...   training clips, each changed by its own seeded recipe

A file is complete or absent (written aside, then renamed), so an interrupted run goes on where it was.
Values are float16 of amplitude times 4096: a relative error of at most 2^-11 = 4.9e-4 for amplitudes from
1.5e-8 to 16, where full scale is 1. A float16 of the logarithm would err by up to 4e-3, float32 would take
twice the space. Files can be memory-mapped.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import zlib
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamtag.core import Scattering
from streamtag.errors import ManifestError, SourceError
from streamtag.spec import ScatteringSpec
from trainer import augment
from trainer.audio import decode
from trainer.manifest import Manifest

SCALE = 4096.0
TRAIN = "train"  # the split that gets augmented passes


@dataclass(frozen=True)
class CacheSettings:
    """Everything the cached numbers depend on beside the audio. clips: a checksum of the training clips'
    names."""

    scattering: dict[str, Any]
    augmentation: int
    seed: int
    clips: int
    format: int = 1


@dataclass(frozen=True)
class Passage:
    """One file to be made: where, by which recipe, with which partner's sound, from which chance."""

    path: Path
    recipe: augment.Recipe
    partner: Path | None
    chance: tuple[int, int, str]


@dataclass(frozen=True)
class Job:
    """One clip and the passes of it that are still to be made: all a worker needs to know."""

    clip_id: str
    sound: Path
    passages: tuple[Passage, ...]


class Cache:
    """The cache of one manifest in one folder; made if it is not there.

    Raises ManifestError if the folder holds frames that were made with other settings.
    """

    def __init__(self, root: Path, manifest: Manifest, spec: ScatteringSpec, seed: int) -> None:
        self.root = root
        self.manifest = manifest
        self.spec = spec
        self.index = {clip.clip_id: i for i, clip in enumerate(manifest.clips)}
        self._sounds = {clip.clip_id: clip.path for clip in manifest.clips}
        self.training = tuple(clip.clip_id for clip in manifest.clips if clip.split == TRAIN)
        self.settings = CacheSettings(
            spec.to_dict(), augment.VERSION, seed, zlib.crc32("\n".join(self.training).encode())
        )
        file = root / "settings.json"
        if file.exists():
            self._compare(json.loads(file.read_text()))
        else:
            root.mkdir(parents=True, exist_ok=True)
            _write(file, lambda path: path.write_text(json.dumps(asdict(self.settings), indent=1)))

    def _compare(self, found: dict[str, Any]) -> None:
        wanted = asdict(self.settings)
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                difference = f"{name} = {found.get(name)}, not {wanted.get(name)}"
                raise ManifestError(f"{self.root}: made with {difference}: remove it or name another folder")

    def path(self, passage: int, clip_id: str) -> Path:
        return self.root / f"pass-{passage:02d}" / f"{clip_id}.npy"

    def recipe(self, passage: int, clip_id: str) -> augment.Recipe:
        """What was done to a clip in a pass; pass 0 changes nothing."""
        if passage == 0:
            return augment.Recipe()
        return augment.draw(augment.chance(self.settings.seed, passage, clip_id), self.training)

    def jobs(self, passes: int) -> list[Job]:
        """What is missing of pass 0 (all clips) and passes 1 to `passes` (training clips)."""
        jobs = []
        for clip in self.manifest.clips:
            wanted = range(passes + 1 if clip.split == TRAIN else 1)
            missing = [p for p in wanted if not self.path(p, clip.clip_id).exists()]
            if missing:
                jobs.append(Job(clip.clip_id, clip.path, tuple(self._passage(p, clip.clip_id) for p in missing)))
        return jobs

    def _passage(self, passage: int, clip_id: str) -> Passage:
        recipe = self.recipe(passage, clip_id)
        partner = self._sounds[recipe.partner] if recipe.partner else None
        # chance of its own: the recipe has used the other one
        return Passage(self.path(passage, clip_id), recipe, partner, (self.settings.seed + 1, passage, clip_id))

    def passes(self) -> int:
        """How many augmented passes are complete."""
        done = 0
        while self.training and all(self.path(done + 1, name).exists() for name in self.training):
            done += 1
        return done

    def read(self, passage: int, clip_id: str) -> NDArray[np.float32]:
        """Frames [F, P]. Raises ManifestError if they are not there."""
        path = self.path(passage, clip_id)
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ManifestError(f"{path}: no cached frames: run `python -m trainer prepare` first ({error})") from error
        return np.asarray(stored, dtype=np.float32) / np.float32(SCALE)


def _save(path: Path, frames: NDArray[np.float32]) -> None:
    stored = np.clip(frames * SCALE, -65504.0, 65504.0).astype(np.float16)
    path.parent.mkdir(parents=True, exist_ok=True)

    def save(aside: Path) -> None:
        with aside.open("wb") as file:
            np.save(file, stored, allow_pickle=False)

    _write(path, save)


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    write(aside)
    aside.replace(path)


def prepare(cache: Cache, passes: int, workers: int) -> Generator[tuple[int, int], None, None]:
    """Fill the cache; yields (files done, files to do) as it goes on. Raises SourceError for a bad clip.

    Each worker is a process with one thread, since clips need nothing from each other; with 0 workers it is
    this process.
    """
    jobs = cache.jobs(passes)
    total = sum(len(job.passages) for job in jobs)
    done = 0
    yield done, total
    for job in _worked(jobs, cache.spec, workers):
        done += len(job.passages)
        yield done, total


def _worked(jobs: list[Job], spec: ScatteringSpec, workers: int) -> Generator[Job, None, None]:
    if not workers:
        for job in jobs:
            yield _make(job, spec)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for future in as_completed([pool.submit(_make, job, spec) for job in jobs]):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@lru_cache(maxsize=1)
def _front_end(spec: ScatteringSpec) -> Scattering:
    return Scattering(spec).eval()


def _make(job: Job, spec: ScatteringSpec) -> Job:
    """Compute and store the passes of one clip."""
    try:
        samples = decode(job.sound, spec.sample_rate)
        for passage in job.passages:
            partner = decode(passage.partner, spec.sample_rate) if passage.partner else None
            rng = augment.chance(*passage.chance)
            heard = augment.apply(passage.recipe, samples, partner, rng, spec.sample_rate)
            with torch.inference_mode():
                frames = _front_end(spec).forward(torch.from_numpy(heard)[None])[0].numpy()
            _save(passage.path, frames)
    except SourceError as error:
        raise SourceError(f"clip {job.clip_id}: {error}") from error
    return job
