"""Filling the feature cache, with all cores or a GPU.

    sounds ─► decode, change by the recipe of each pass ─► front end ─► float16 ─► the passes' stores, in order
              one process a core, one thread each                       this process writes alone

With a GPU the processes stop at the samples, and this one sends them through the front end in batches. Blocks of
clips go together, always the same ones: so a run that was stopped and goes on has the same batches as one that was
not, and comes to the same bytes.

Measured on two cores: a clip of 29 s takes 6.5 ms of a core to decode and 28.5 ms for the scattering transform, and
both cores together make 50 clips a second.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import groupby
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import torch

from streamtag.errors import DeviceError, OutputError, SourceError, StreamtagError
from trainer.features import augmentation
from trainer.features.audio import Samples, decode, duration
from trainer.features.cache import Cache
from trainer.features.frame_store import Entry, Half
from trainer.features.frontends import Frontend, frontend

BLOCK = 32  # clips that go to the GPU together
BATCH = 16  # sounds in one call of the front end there
AHEAD = 4  # jobs waiting for each process, so that none idles and memory stays small
MALLOC = ((-3, 32 << 20), (-1, 1 << 30))  # glibc's M_MMAP_THRESHOLD at its largest, M_TRIM_THRESHOLD
PROBED = 16  # clips whose length tells how much will be written


@dataclass(frozen=True)
class AugmentedPass:
    """One pass of one clip: its number, by which recipe, with which partner's sound, from which chance."""

    number: int
    recipe: augmentation.AudioAugmentation
    partner: Path | None
    chance: tuple[int, int, str]


@dataclass(frozen=True)
class Job:
    """One clip and the passes of it that are still to be made: all a worker needs to know."""

    clip_id: str
    block: int
    sound: Path
    front: str
    passages: tuple[AugmentedPass, ...]


@dataclass(frozen=True)
class ExtractionResult:
    """What came of a job: for each of its passages an array, or the problem."""

    job: Job
    arrays: tuple[Samples | Half, ...]
    problem: str = ""


def prepare(cache: Cache, passes: int, workers: int, device: str = "cpu") -> Generator[tuple[int, int], None, None]:
    """Fill the cache; yields (clips and passes done, to do) as it goes on.

    With 0 workers all happens in this process. Clips that do not decode are noted in the cache. Raises OutputError if
    there is no room for the frames or another process fills this cache, SourceError if no clip at all decodes.
    """
    place = _device(device)
    block = 1 if place.type == "cpu" else BLOCK
    with cache.locked(), ExitStack() as opened:
        cache.refresh()
        kept = [_kept(cache, number, block) for number in range(passes + 1)]
        jobs = _jobs(cache, kept, block)
        total = sum(len(job.passages) for job in jobs)
        done = 0
        yield done, total
        if jobs:
            _check_room(cache, total)
        stores = [opened.enter_context(cache.store(n).appending(keep)) for n, keep in enumerate(kept)] if jobs else []
        for made in _made(jobs, workers, place):
            empty = np.zeros((0, cache.front.size), dtype=np.float16)
            for place_in_job, passage in enumerate(made.job.passages):
                frames = empty if made.problem else made.arrays[place_in_job]
                entry = Entry(made.job.clip_id, len(frames), made.problem)
                stores[passage.number].add(entry, np.asarray(frames, dtype=np.float16))
            done += len(made.job.passages)
            yield done, total
    cache.refresh()
    if not cache.manifest.clips:
        raise SourceError(f"{cache.everything.root}: no clip decodes: {next(iter(cache.dropped.values()))}")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"{name}: no such device: {str(error).splitlines()[0]}") from error
    return device


def _kept(cache: Cache, number: int, block: int) -> int:
    """How many clips of a pass stay: those there are, less an unfinished block."""
    order, there = cache.order(number), len(cache.store(number).entries())
    if there >= len(order):
        return there
    place = {clip_id: i for i, clip_id in enumerate(cache.order(0))}
    unfinished = place[order[there]] // block
    return sum(place[clip_id] // block < unfinished for clip_id in order[:there])


def _jobs(cache: Cache, kept: list[int], block: int) -> list[Job]:
    """What is missing, in the manifest's order."""
    missing = [set(cache.order(number)[keep:]) for number, keep in enumerate(kept)]
    jobs = []
    for place, clip_id in enumerate(cache.order(0)):
        if numbers := [number for number, clips in enumerate(missing) if clip_id in clips]:
            passages = tuple(_passage(cache, number, clip_id) for number in numbers)
            jobs.append(Job(clip_id, place // block, cache.sound(clip_id), cache.front.name, passages))
    return jobs


def _passage(cache: Cache, number: int, clip_id: str) -> AugmentedPass:
    recipe = cache.recipe(number, clip_id)
    partner = cache.sound(recipe.partner) if recipe.partner else None
    # chance of its own: the recipe has used the other one
    return AugmentedPass(number, recipe, partner, (cache.settings.seed + 1, number, clip_id))


def _check_room(cache: Cache, total: int) -> None:
    """Raises OutputError if what is still to be made will not fit."""
    clips = cache.everything.clips
    lengths = [duration(clip.path) for clip in clips[:: max(1, len(clips) // PROBED)]]
    frames = total * float(np.mean([seconds for seconds in lengths if seconds] or [0.0])) / cache.front.hop_s
    needed, free = 2 * cache.front.size * frames, shutil.disk_usage(cache.folder).free
    if needed > free:
        raise OutputError(f"{cache.folder}: about {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")


def _made(jobs: list[Job], workers: int, device: torch.device) -> Iterator[ExtractionResult]:
    """The jobs' frames, in order."""
    if device.type == "cpu":
        yield from _worked(jobs, _frames, workers)
        return
    for _, block in groupby(_worked(jobs, _sounds, workers), lambda made: made.job.block):
        yield from _together(list(block), device)


def _worked(jobs: list[Job], work: Callable[[Job], ExtractionResult], workers: int) -> Iterator[ExtractionResult]:
    if not workers:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs) or 1), context, initializer=_start_worker) as pool:
        try:
            waiting: deque[Future[ExtractionResult]] = deque()
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) >= AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise StreamtagError("prepare: a worker process was killed (memory?): what is done is kept") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    torch.set_num_threads(1)
    _keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent sees it and ends the pool
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _keep_memory() -> None:
    """glibc would hand the buffers of each clip back to the system and fetch them anew for the next one, page by page:
    up to a tenth of the time. Elsewhere nothing happens."""
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, size in MALLOC:
            mallopt(option, size)


def _end_with_parent() -> None:
    """A parent that is killed cannot tell its workers, who would wait for it for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _sounds(job: Job) -> ExtractionResult:
    """The samples of every passage [T]."""
    try:
        front = frontend(job.front)
        return ExtractionResult(job, tuple(_heard(job, front)))
    except SourceError as error:
        return ExtractionResult(job, (), str(error))


def _heard(job: Job, front: Frontend) -> Iterator[Samples]:
    samples = decode(job.sound, front.sample_rate)
    for passage in job.passages:
        partner = None
        recipe = passage.recipe
        if passage.partner:
            try:
                partner = decode(passage.partner, front.sample_rate)
            except SourceError:  # as the cache's recipe will have it, once it knows
                partner = None
        yield augmentation.apply(recipe, samples, partner, augmentation.chance(*passage.chance), front.sample_rate)


def _frames(job: Job) -> ExtractionResult:
    """The frames of every passage [F, P]."""
    sounds = _sounds(job)
    front = frontend(job.front)
    return ExtractionResult(
        job, tuple(_stored(front, front.compute(torch.from_numpy(s)[None])[0]) for s in sounds.arrays), sounds.problem
    )


def _stored(front: Frontend, frames: torch.Tensor) -> Half:
    return np.clip(frames.cpu().numpy() * front.scale, -65504.0, 65504.0).astype(np.float16)


def _together(block: Iterable[ExtractionResult], device: torch.device) -> Iterator[ExtractionResult]:
    """The frames of a block of sounds, in batches of one length: zeros at the end change nothing."""
    block = list(block)
    sounds = [samples for made in block for samples in made.arrays]
    frames: list[Half] = []
    for start in range(0, len(sounds), BATCH):
        front = frontend(block[0].job.front)
        batch = [torch.from_numpy(samples) for samples in sounds[start : start + BATCH]]
        values = front.compute(torch.nn.utils.rnn.pad_sequence(batch, batch_first=True).to(device))
        frames += [_stored(front, row[: front.frame_count(len(s))]) for row, s in zip(values, batch, strict=True)]
    taken = iter(frames)
    for made in block:
        yield ExtractionResult(made.job, tuple(next(taken) for _ in made.arrays), made.problem)
