"""Filling the feature cache, with all cores or a GPU.

    sounds ─► decode, augment for each pass ─► frontend ─► float16 ─► the passes' stores, in order
              one process per core, one thread each                   written by this process alone

With a GPU the processes stop at the samples, and this process sends them through the frontend in batches. The same
blocks of clips are always batched together, so that an interrupted and continued run computes the same bytes.

Measured on two cores: a clip of 29 s takes 6.5 ms of a core to decode and 28.5 ms for the scattering transform; both
cores together process 50 clips per second.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from streamtag.errors import DeviceError, SourceError
from trainer.features import augmentation
from trainer.features.audio import Samples, decode, duration
from trainer.features.augmentation import AudioAugmentation
from trainer.features.cache import Cache
from trainer.features.fingerprint import fingerprint
from trainer.features.frame_store import Entry, Half
from trainer.features.frontends import Frontend, frontend
from trainer.files import check_free_space, locked
from trainer.processes import run_jobs

GPU_BLOCK_CLIPS = 32
GPU_BATCH_SOUNDS = 16
PROBED_CLIPS = 16  # from whose lengths the size of the output is estimated


@dataclass(frozen=True)
class AugmentedPass:
    """One clip in one pass: how it is changed, the partner's sound file, and the seed of the augmentation's noise."""

    number: int
    augmentation: AudioAugmentation
    partner: Path | None
    seed: tuple[int, int, str]


@dataclass(frozen=True)
class Job:
    """One clip and the passes that it still needs: everything a worker process has to know."""

    clip_id: str
    block: int
    sound: Path
    front: str
    passes: tuple[AugmentedPass, ...]


@dataclass(frozen=True)
class ExtractionResult:
    """The samples [T] or frames [F, P] of each pass of a job, or the problem; and its sound file's fingerprint."""

    job: Job
    arrays: tuple[Samples | Half, ...]
    problem: str = ""
    fingerprint: str = ""


def prepare(cache: Cache, passes: int, workers: int, device: str = "cpu") -> Generator[tuple[int, int], None, None]:
    """Fill the cache, and yield (clips and passes done, all of them) along the way.

    With 0 workers everything happens in this process. Clips that do not decode are recorded in the cache. Raises
    OutputError without space or if another process is filling this cache, and SourceError if no clip decodes.
    """
    place = _open_device(device)
    block = 1 if place.type == "cpu" else GPU_BLOCK_CLIPS
    with locked(cache.folder), ExitStack() as opened:
        cache.refresh()
        _cut_changed(cache, block)
        kept = [kept_entries(cache, number, block) for number in range(passes + 1)]
        jobs = _jobs(cache, kept, block)
        total = sum(len(job.passes) for job in jobs)
        done = 0
        yield done, total
        if jobs:
            _check_space(cache, total)
        writers = [opened.enter_context(cache.store(n).appending(keep)) for n, keep in enumerate(kept)] if jobs else []
        empty = np.zeros((0, cache.front.size), dtype=np.float16)
        for result in _results(jobs, workers, place):
            for position, augmented in enumerate(result.job.passes):
                frames = empty if result.problem else result.arrays[position]
                known = "" if augmented.number else result.fingerprint
                entry = Entry(result.job.clip_id, len(frames), result.problem, known)
                writers[augmented.number].add(entry, np.asarray(frames, dtype=np.float16))
            done += len(result.job.passes)
            yield done, total
    cache.refresh()
    if not cache.manifest.clips:
        raise SourceError(f"{cache.full_manifest.root}: no clip decodes: {next(iter(cache.dropped.values()))}")


def _open_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"{name}: no such device: {str(error).splitlines()[0]}") from error
    return device


def _cut_changed(cache: Cache, block: int) -> None:
    """Cut off what was computed from sounds that have changed; pass 0 last, which knows them."""
    for number in reversed(cache.passes() if cache.changed else []):
        with cache.store(number).appending(kept_entries(cache, number, block)):
            pass
    cache.refresh()
    cache.renew_fingerprints()


def kept_entries(cache: Cache, number: int, block: int) -> int:
    """Return how many entries of a pass are kept: the valid ones without those of an unfinished block."""
    order, existing = cache.order(number), cache.valid_entries(number)
    if existing >= len(order):
        return existing
    position = {clip_id: i for i, clip_id in enumerate(cache.order(0))}
    unfinished = position[order[existing]] // block
    return sum(position[clip_id] // block < unfinished for clip_id in order[:existing])


def _jobs(cache: Cache, kept: list[int], block: int) -> list[Job]:
    """Return the missing work in the manifest's order."""
    missing = [set(cache.order(number)[keep:]) for number, keep in enumerate(kept)]
    jobs = []
    for position, clip_id in enumerate(cache.order(0)):
        if numbers := [number for number, clips in enumerate(missing) if clip_id in clips]:
            passes = tuple(_augmented_pass(cache, number, clip_id) for number in numbers)
            jobs.append(Job(clip_id, position // block, cache.sound(clip_id), cache.front.name, passes))
    return jobs


def _augmented_pass(cache: Cache, number: int, clip_id: str) -> AugmentedPass:
    change = cache.augmentation(number, clip_id)
    partner = cache.sound(change.partner) if change.partner else None
    # another seed than the one with which the augmentation itself was drawn
    return AugmentedPass(number, change, partner, (cache.settings.seed + 1, number, clip_id))


def _check_space(cache: Cache, total: int) -> None:
    """Raise OutputError if the missing frames will not fit."""
    clips = cache.full_manifest.clips
    lengths = [duration(clip.path) for clip in clips[:: max(1, len(clips) // PROBED_CLIPS)]]
    frames = total * float(np.mean([seconds for seconds in lengths if seconds] or [0.0])) / cache.front.hop_s
    check_free_space(cache.folder, cache.folder, 2 * cache.front.size * frames, "about ")


def _results(jobs: list[Job], workers: int, device: torch.device) -> Iterator[ExtractionResult]:
    """Yield the jobs' frames, in order."""
    if device.type == "cpu":
        yield from run_jobs("prepare", jobs, compute_frames, workers)
        return
    for _, block in groupby(run_jobs("prepare", jobs, load_sounds, workers), lambda result: result.job.block):
        yield from compute_batched(list(block), device)


def load_sounds(job: Job) -> ExtractionResult:
    """Return the augmented samples [T] of every pass."""
    known = fingerprint(job.sound)
    try:
        return ExtractionResult(job, tuple(_augmented_sounds(job, frontend(job.front).sample_rate)), fingerprint=known)
    except SourceError as error:
        return ExtractionResult(job, (), str(error), known)


def _augmented_sounds(job: Job, sample_rate: int) -> Iterator[Samples]:
    samples = decode(job.sound, sample_rate)
    for augmented in job.passes:
        partner = None
        if augmented.partner:
            with suppress(SourceError):  # the cache drops such partners once it knows
                partner = decode(augmented.partner, sample_rate)
        rng = augmentation.generator(*augmented.seed)
        yield augmentation.apply(augmented.augmentation, samples, partner, rng, sample_rate)


def compute_frames(job: Job) -> ExtractionResult:
    """Return the frames [F, P] of every pass."""
    sounds = load_sounds(job)
    front = frontend(job.front)
    frames = (_as_half(front, front.compute(torch.from_numpy(s)[None])[0]) for s in sounds.arrays)
    return replace(sounds, arrays=tuple(frames))


def _as_half(front: Frontend, frames: torch.Tensor) -> Half:
    return np.clip(frames.cpu().numpy() * front.scale, -65504.0, 65504.0).astype(np.float16)


def compute_batched(block: list[ExtractionResult], device: torch.device) -> Iterator[ExtractionResult]:
    """Yield the frames of a block of sounds, computed in zero-padded batches (zeros at the end change nothing)."""
    front = frontend(block[0].job.front)
    sounds = [torch.from_numpy(samples) for result in block for samples in result.arrays]
    frames: list[Half] = []
    for start in range(0, len(sounds), GPU_BATCH_SOUNDS):
        batch = sounds[start : start + GPU_BATCH_SOUNDS]
        values = front.compute(torch.nn.utils.rnn.pad_sequence(batch, batch_first=True).to(device))
        frames += [_as_half(front, row[: front.frame_count(len(s))]) for row, s in zip(values, batch, strict=True)]
    remaining = iter(frames)
    for result in block:
        yield replace(result, arrays=tuple(next(remaining) for _ in result.arrays))
