"""`streamtag catalog`: a whole collection in, a table out. The wiring between files, listeners, journal and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from streamtag.catalog.files import AudioFile, Collection
from streamtag.catalog.fingerprint import fingerprint
from streamtag.catalog.journal import Journal
from streamtag.catalog.progress import Progress, ProgressTracker
from streamtag.catalog.progress_bar import ProgressBar, hours
from streamtag.catalog.table import check_format
from streamtag.cli.reporter import Reporter
from streamtag.cli.running import run_command
from streamtag.cli.signals import SignalGuard
from streamtag.errors import SourceError
from streamtag.sinks.atomic_file import check_targets
from streamtag.text import format_time, printable

if TYPE_CHECKING:
    from streamtag.api import Tagger
    from streamtag.catalog.file_task import TaskResult
    from streamtag.catalog.output import Written

FAILURES_TOLD = 20  # the rest stand in the table


@dataclass(frozen=True)
class RayRequest:
    """address: of a cluster; None: a Ray of this machine alone."""

    address: str | None = None


@dataclass(frozen=True)
class CatalogRequest:
    """What the user asked for. outs: at least one. frames: a table of every frame. workers: None: one a core."""

    paths: tuple[str, ...]
    outs: tuple[Path, ...]
    frames: Path | None = None
    top: int = 5
    workers: int | None = None
    ray: RayRequest | None = None
    model: Path | None = None
    device: str = "auto"


class Workers(Protocol):
    """Who hears: threads of this process, or actors of a cluster."""

    def hear(self, sounds: Sequence[AudioFile]) -> Iterator[TaskResult | None]: ...


def run(request: CatalogRequest) -> int:
    """Does it. -> the exit code: 1 also if a file could not be heard."""
    return run_command(False, partial(_run, request))


def _run(request: CatalogRequest, reporter: Reporter, interruption: SignalGuard) -> None:
    # What can be wrong with the request is found before the seconds that loading takes.
    tables = [*request.outs, *([request.frames] if request.frames else [])]
    for path in tables:
        check_format(path)
    collection = Collection.of(request.paths)
    check_targets(tables, [sound.path for sound in collection.sounds])
    for error in collection.missing:
        reporter.error(error)
    if not collection.sounds:
        return

    from streamtag.api import load  # late: torch
    from streamtag.catalog.output import write_tables

    tagger = load(request.model, "cpu" if request.ray else request.device)
    model = fingerprint(tagger.path)
    first = request.outs[0]
    with ExitStack() as resources:
        journal = resources.enter_context(Journal(first.with_name(f"{first.name}.journal")))
        work = Work(request, tagger, model, journal, reporter, interruption)
        progress = work.hear(collection.sounds)
        written = write_tables(
            journal, collection.sounds, tagger, model, request.top, request.outs, request.frames, FAILURES_TOLD
        )
    for sound, reason in written.failures:
        reporter.error(SourceError(f"{printable(sound.path)}: {reason}"))
    if written.failed > len(written.failures):
        reporter.note(f"{written.failed - len(written.failures):,} more failed: see the column `error`")
    reporter.note(_told(request, collection, progress, written))


@dataclass(frozen=True)
class Work:
    """What one run hears, and where it keeps it."""

    request: CatalogRequest
    tagger: Tagger
    model: str
    journal: Journal
    reporter: Reporter
    interruption: SignalGuard

    def hear(self, sounds: Sequence[AudioFile]) -> Progress:
        """All that the journal does not know yet, or knows to have failed. What was done is kept, come what may."""
        twins = _twins([sound for sound in sounds if self._unknown(sound)])
        firsts = [names[0] for names in twins.values()]
        known = len(sounds) - sum(map(len, twins.values()))
        if known:
            self.reporter.note(f"{known:,} of {len(sounds):,} files are known from before")
        tally = ProgressTracker(len(firsts), sum(sound.size for sound in firsts))
        others = {names[0].place: names[1:] for names in twins.values()}
        with ExitStack() as resources:
            resources.callback(self.journal.commit)
            if firsts:
                workers = self._workers(firsts, tally, resources)
                resources.enter_context(self.interruption)
                bar = resources.enter_context(ProgressBar(Console(stderr=True, highlight=False), self.reporter.note))
                for heard in workers.hear(firsts):
                    if heard is not None:
                        entry = self.journal.add(*heard)
                        for twin in others[entry.place]:
                            self.journal.add(entry.of_twin(twin), None)
                        tally.heard(entry)
                    bar.show(tally.progress())
                    if self.interruption.wanted:
                        break
        return tally.progress()

    def _unknown(self, sound: AudioFile) -> bool:
        entry = self.journal.entry(sound, self.model)
        if entry is None or entry.error is not None:
            return True
        return self.request.frames is not None and entry.frames_at is None

    def _workers(self, sounds: Sequence[AudioFile], tally: ProgressTracker, resources: ExitStack) -> Workers:
        request = self.request
        if request.ray is not None:
            from streamtag.catalog.actor import Job
            from streamtag.catalog.cluster import Cluster

            job = Job(self.tagger.path.resolve(), self.model, request.device, request.frames is not None)
            return resources.enter_context(Cluster(request.ray.address, request.workers, job, tally.moved))
        from streamtag.catalog.runner import ThreadedRunner, listeners

        size = min(request.workers or listeners(self.tagger.device), len(sounds))
        return resources.enter_context(
            ThreadedRunner(self.tagger, size, self.model, request.frames is not None, tally.moved)
        )


def _twins(sounds: Sequence[AudioFile]) -> dict[tuple[int, int], list[AudioFile]]:
    """All names of each file, by what it is: it is heard once."""
    found: dict[tuple[int, int], list[AudioFile]] = {}
    for sound in sounds:
        found.setdefault(sound.identity, []).append(sound)
    return found


def _told(request: CatalogRequest, collection: Collection, progress: Progress, written: Written) -> str:
    parts = [f"{written.files:,} of {len(collection.sounds):,} files in {', '.join(map(str, request.outs))}"]
    if written.failed:
        parts.append(f"{written.failed:,} failed")
    if progress.seconds:
        speed = f"{progress.times_real_time:.0f} times real time"
        parts.append(f"{hours(progress.seconds)} of sound in {format_time(progress.taken_s)}, {speed}")
    left = len(collection.sounds) - written.files
    if left:
        parts.append(f"{left:,} left: the same command goes on")
    return "; ".join(parts)
