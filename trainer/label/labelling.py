"""A labelled data set: crops of recordings, unchanged and changed, with the teachers' predictions of what they became.

    OUT/labels.json          what the labels were made with; other settings are refused
    OUT/audio/CLIP_ID.flac   29 s, mono, 16 kHz
    OUT/labels.half, .csv    predictions, clip after clip (see `features.frame_store`): a row per window and teacher
    OUT/clips.csv, tags.txt, targets.npz   the data set as `prepare` and `train` read it; written at the end, and when
                             the work is interrupted, for the clips that are done

Pass 0 holds the recordings unchanged, in consecutive crops. Every further pass takes crops from random places of the
training recordings, and changes each by speed, equalization, reverb, codec and noise, or mixes it with another one
(`features.augmentation`). The teachers label the changed audio itself: "consistent teaching" of Beyer et al. 2022,
"Knowledge distillation: A good teacher is patient and consistent".
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streamtag.errors import ManifestError, SourceError
from trainer.data.manifest import TRAIN
from trainer.features import augmentation
from trainer.features.audio import Samples, decode, duration, encode
from trainer.features.augmentation import AudioAugmentation, Rng
from trainer.features.frame_store import Entry, FrameStore, Half
from trainer.files import keep_settings, locked, replacing, report_write_errors, write_atomically, write_lines
from trainer.label.recordings import Recording
from trainer.label.teachers import SAMPLE_RATE, Teacher, load_teachers, weights_digest
from trainer.processes import run_jobs

CLIP_S = 29.0
CLIP_SAMPLES = round(CLIP_S * SAMPLE_RATE)
MIN_LEVEL = 1e-4  # root mean square; quieter crops are left out
SETTINGS = "labels.json"


@dataclass(frozen=True)
class LabelPlan:
    """What is labelled and how. `crops` bounds those of one recording in one pass. `precision`: see `Teacher`.

    Passes after the first take the training recordings of the kinds in `changed_kinds`, or of all kinds if it is empty.
    """

    out: Path
    recordings: tuple[Recording, ...]
    teachers_file: Path
    teachers: tuple[str, ...]
    passes: int
    crops: int
    changed_kinds: tuple[str, ...]
    seed: int
    precision: str = "float32"

    def settings(self) -> dict[str, Any]:
        """Return what the labels depend on. The number of passes is left out: more can be added later."""
        lines = "\n".join(f"{r.name} {r.split} {r.path.stat().st_size}" for r in self.recordings)
        return {
            "format": 2,
            "teachers": list(self.teachers),
            "weights": weights_digest(self.teachers_file),
            "augmentation": augmentation.VERSION,
            "recordings": len(self.recordings),
            "names": zlib.crc32(lines.encode()),
            "crops": self.crops,
            "changed_kinds": list(self.changed_kinds),
            "seed": self.seed,
            "precision": self.precision,
        }


@dataclass(frozen=True)
class LabelJob:
    """The crops of one recording in one pass."""

    recording: Recording
    number: int
    clip_ids: tuple[str, ...]
    partner: Recording | None
    audio: Path
    seed: int


@dataclass(frozen=True)
class LabelledClip:
    """The rows of one crop's predictions, or the reason why there are none."""

    clip_id: str
    rows: Half
    problem: str = ""


def label(plan: LabelPlan, workers: int) -> Generator[tuple[int, int], None, None]:
    """Label everything that is missing, and yield (clips done, all of them) along the way.

    Raises ManifestError if the folder holds labels made with other settings, OutputError if it cannot be written.
    """
    teachers = load_teachers(plan.teachers_file, plan.teachers)
    tags = teachers[0].tags
    if any(teacher.tags != tags for teacher in teachers):
        raise ManifestError(f"{plan.teachers_file}: {', '.join(plan.teachers)} predict different tags")
    with report_write_errors(plan.out):
        (plan.out / "audio").mkdir(parents=True, exist_ok=True)
    with locked(plan.out):
        keep_settings(plan.out / SETTINGS, plan.settings())
        yield from _label(plan, teachers, workers)


def _label(plan: LabelPlan, teachers: Sequence[Teacher], workers: int) -> Iterator[tuple[int, int]]:
    jobs = list(plan_jobs(plan))
    store = FrameStore(plan.out / "labels.half", len(teachers[0].tags))
    existing = len(store.entries())
    done = kept = 0
    while kept < len(jobs) and done + len(jobs[kept].clip_ids) <= existing:
        done += len(jobs[kept].clip_ids)
        kept += 1
    total = sum(len(job.clip_ids) for job in jobs)
    yield done, total
    if kept == len(jobs):
        write_dataset(plan, teachers, jobs)
        return
    work = partial(label_recording, plan.teachers_file, plan.teachers, plan.precision)
    try:
        with store.appending(done) as writer:
            for clips in run_jobs("label", jobs[kept:], work, workers):
                for clip in clips:
                    writer.add(Entry(clip.clip_id, len(clip.rows), clip.problem), clip.rows)
                done += len(clips)
                yield done, total
    finally:
        write_dataset(plan, teachers, jobs)


def plan_jobs(plan: LabelPlan) -> Iterator[LabelJob]:
    """Yield the jobs of all passes. Each pass has its own random order, so that a part of it is a fair sample."""
    counts = {r.name: max(1, min(plan.crops, int(duration(r.path) // CLIP_S))) for r in plan.recordings}
    changed = [
        r for r in plan.recordings if r.split == TRAIN and (r.kind in plan.changed_kinds or not plan.changed_kinds)
    ]
    partners = [r for r in plan.recordings if r.split == TRAIN]
    for number in range(plan.passes + 1):
        chosen = list(plan.recordings if number == 0 else changed)
        rng = np.random.default_rng([plan.seed, number])
        for index in rng.permutation(len(chosen)):
            recording = chosen[index]
            ids = tuple(f"{recording.name}_p{number:02d}_{k}" for k in range(counts[recording.name]))
            partner = partners[int(rng.integers(len(partners)))] if number else None
            yield LabelJob(recording, number, ids, partner, plan.out / "audio", plan.seed)


_teachers_of_process = cache(load_teachers)  # read once in each worker process


def label_recording(teachers_file: Path, names: tuple[str, ...], precision: str, job: LabelJob) -> list[LabelledClip]:
    """Crop, change, write and label the clips of one job."""
    teachers = _teachers_of_process(teachers_file, names, getattr(torch, precision))
    empty = np.zeros((0, len(teachers[0].tags)), dtype=np.float16)
    try:
        samples = decode(job.recording.path, SAMPLE_RATE)
        partner = None
        if any(_augmentation(job, clip_id).partner for clip_id in job.clip_ids) and job.partner is not None:
            partner = decode(job.partner.path, SAMPLE_RATE)
    except SourceError as error:
        return [LabelledClip(clip_id, empty, str(error)) for clip_id in job.clip_ids]
    clips = []
    for position, clip_id in enumerate(job.clip_ids):
        crop = _crop(job, samples, position, partner)
        if float(np.sqrt(np.mean(np.square(crop)))) < MIN_LEVEL:
            clips.append(LabelledClip(clip_id, empty, "silent"))
            continue
        crop = np.round(np.clip(crop, -1.0, 1.0) * 32767.0).astype(np.float32) / np.float32(32768.0)  # as FLAC keeps it
        with report_write_errors(job.audio), replacing(job.audio / f"{clip_id}.flac") as part:
            encode(crop, SAMPLE_RATE, "flac", 0, part)
        audio = torch.from_numpy(crop)
        rows = torch.cat([teacher.predict(audio) for teacher in teachers])
        clips.append(LabelledClip(clip_id, rows.numpy().astype(np.float16)))
    return clips


def _augmentation(job: LabelJob, clip_id: str) -> AudioAugmentation:
    if job.number == 0:
        return AudioAugmentation()
    partner = [job.partner.name] if job.partner else []
    return replace(augmentation.draw(augmentation.generator(job.seed, job.number, clip_id), partner), start_s=0.0)


def _crop(job: LabelJob, samples: Samples, position: int, partner: Samples | None) -> Samples:
    """Return the crop [CLIP_SAMPLES] at `position` of the job, changed. Recordings that are too short are repeated."""
    if job.number == 0:
        last = max(len(samples) - CLIP_SAMPLES, 0)
        fits = len(job.clip_ids) * CLIP_SAMPLES <= len(samples) < (len(job.clip_ids) + 1) * CLIP_SAMPLES
        start = position * CLIP_SAMPLES if fits else round(position * last / max(len(job.clip_ids) - 1, 1))
        return np.resize(samples[start : start + CLIP_SAMPLES], CLIP_SAMPLES)
    change = _augmentation(job, job.clip_ids[position])
    rng = augmentation.generator(job.seed + 1, job.number, job.clip_ids[position])
    part = _random_part(samples, int(CLIP_SAMPLES * change.speed) + 1, rng)
    other = _random_part(partner, CLIP_SAMPLES, rng) if partner is not None and change.partner else None
    return np.resize(augmentation.apply(change, part, other, rng, SAMPLE_RATE), CLIP_SAMPLES)


def _random_part(samples: Samples, length: int, rng: Rng) -> Samples:
    start = int(rng.integers(max(len(samples) - length, 0) + 1))
    return samples[start : start + length]


def write_dataset(plan: LabelPlan, teachers: Sequence[Teacher], jobs: Sequence[LabelJob]) -> None:
    """Write clips.csv, tags.txt and targets.npz for the clips that are done."""
    store = FrameStore(plan.out / "labels.half", len(teachers[0].tags))
    rows, entries = store.map(), store.entries()
    by_id = {clip_id: job for job in jobs for clip_id in job.clip_ids}
    ends = np.cumsum([entry.frames for entry in entries])
    good = [i for i, entry in enumerate(entries) if not entry.problem and entry.clip_id in by_id]
    if not good:
        return
    windows = [int(CLIP_S // teacher.window_s) for teacher in teachers]
    values = np.stack([rows[ends[i] - sum(windows) : ends[i]] for i in good]).astype(np.float32)
    arrays: dict[str, Any] = {"clip_id": np.array([entries[i].clip_id for i in good])}
    for teacher, part in zip(teachers, np.split(values, np.cumsum(windows)[:-1], axis=1), strict=True):
        name = teacher.name.replace("-", "_")
        arrays[name] = part.mean(axis=1).astype(np.float16)
        if part.shape[1] > 1:
            arrays |= {
                f"{name}_windows": part.astype(np.float16),
                "window_s": teacher.window_s,
                "hop_s": teacher.window_s,
            }
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("clip_id", "split", "kind", "artist", "mixed_artist", "recording", "pass"))
    for i in good:
        job = by_id[entries[i].clip_id]
        r, clip_id = job.recording, entries[i].clip_id
        mixed = job.partner.artist if job.partner and _augmentation(job, clip_id).partner else ""
        writer.writerow((clip_id, r.split, r.kind, r.artist, mixed, r.name, job.number))
    with report_write_errors(plan.out):
        with replacing(plan.out / "targets.npz") as part_file, part_file.open("wb") as file:
            np.savez_compressed(file, **arrays)
        write_lines(plan.out / "tags.txt", teachers[0].tags)
        write_atomically(plan.out / "clips.csv", table.getvalue().encode())
