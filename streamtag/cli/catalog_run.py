"""`streamtag catalog`: a whole collection in, a table out. The wiring between files, listeners, journal and tables."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from streamtag.catalog.files import AudioFile, Collection, hard_links
from streamtag.catalog.journal import Journal
from streamtag.catalog.progress import Progress, ProgressBar, ProgressTracker, format_duration
from streamtag.catalog.result import FINGERPRINT_DIGITS
from streamtag.catalog.table_formats import check_format
from streamtag.cli.reporter import Reporter
from streamtag.cli.running import run_command
from streamtag.cli.signals import SignalGuard
from streamtag.errors import SourceError
from streamtag.sinks.atomic_file import check_targets
from streamtag.text import format_time, printable

if TYPE_CHECKING:
    from streamtag.api import Tagger
    from streamtag.catalog.runner import Runner
    from streamtag.catalog.tables import TableSummary

MAX_FAILURES_SHOWN = 20  # the others are in the table only


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


def run(request: CatalogRequest) -> int:
    """Does it. -> the exit code: 1 also if a file could not be heard."""
    return run_command(False, partial(_run, request))


def _run(request: CatalogRequest, reporter: Reporter, interruption: SignalGuard) -> None:
    # What can be wrong with the request is found before the seconds that loading takes.
    tables = [*request.outs, *([request.frames] if request.frames else [])]
    for path in tables:
        check_format(path)
    collection = Collection.find(request.paths)
    check_targets(tables, [file.path for file in collection.files])
    for error in collection.errors:
        reporter.error(error)
    if not collection.files:
        return

    from streamtag.api import load  # late: torch
    from streamtag.catalog.tables import TableRequest, write_tables
    from streamtag.model.model_file import fingerprint

    tagger = load(request.model, "cpu" if request.ray else request.device)
    model = fingerprint(tagger.path)[:FINGERPRINT_DIGITS]
    first = request.outs[0]
    with ExitStack() as resources:
        journal = resources.enter_context(Journal(first.with_name(f"{first.name}.journal")))
        work = Work(request, tagger, model, journal, reporter, interruption)
        progress = work.run(collection.files)
        hop_s = tagger.network.spec.hop_s
        table_request = TableRequest(tagger.tags, hop_s, request.outs, request.frames, request.top, MAX_FAILURES_SHOWN)
        summary = write_tables(table_request, journal, collection.files, model)
    for file, reason in summary.failures:
        reporter.error(SourceError(f"{printable(file.path)}: {reason}"))
    if summary.failed > len(summary.failures):
        reporter.note(f"{summary.failed - len(summary.failures):,} more failed: see the column `error`")
    reporter.note(_summary(request, collection, progress, summary))


@dataclass(frozen=True)
class Work:
    """What one run tags, and where it keeps the results."""

    request: CatalogRequest
    tagger: Tagger
    model: str
    journal: Journal
    reporter: Reporter
    interruption: SignalGuard

    def run(self, files: Sequence[AudioFile]) -> Progress:
        """Tag all files without a result in the journal, or with an error there. Results are kept, come what may."""
        links = hard_links([file for file in files if self._needs_tagging(file)])
        firsts = [names[0] for names in links.values()]
        known = len(files) - sum(map(len, links.values()))
        if known:
            self.reporter.note(f"{known:,} of {len(files):,} files are known from before")
        tracker = ProgressTracker(len(firsts), sum(file.size for file in firsts))
        other_names = {names[0].abspath: names[1:] for names in links.values()}
        with ExitStack() as resources:
            resources.callback(self.journal.commit)
            if firsts:
                runner = self._runner(firsts, tracker, resources)
                resources.enter_context(self.interruption)
                bar = resources.enter_context(ProgressBar(Console(stderr=True, highlight=False), self.reporter.note))
                for item in runner.run(firsts):
                    if item is not None:
                        result = self.journal.add(*item)
                        for file in other_names[result.abspath]:
                            self.journal.add(result.for_link(file), None)
                        tracker.finish(result)
                    bar.show(tracker.progress())
                    if self.interruption.wanted:
                        break
        return tracker.progress()

    def _needs_tagging(self, file: AudioFile) -> bool:
        result = self.journal.find(file, self.model)
        if result is None or result.error is not None:
            return True
        return self.request.frames is not None and result.frames_offset is None

    def _runner(self, files: Sequence[AudioFile], tracker: ProgressTracker, resources: ExitStack) -> Runner:
        request, keep_frames = self.request, self.request.frames is not None
        if request.ray is not None:
            from streamtag.api import load
            from streamtag.catalog.actor import Job
            from streamtag.catalog.cluster import Cluster

            job = Job(load, self.tagger.path.resolve(), self.model, request.device, keep_frames)
            return resources.enter_context(Cluster(request.ray.address, request.workers, job, tracker.advance))
        from streamtag.catalog.runner import MAX_OPEN_FILES, ThreadedRunner, default_threads
        from streamtag.inference.batch import SessionPool

        threads = min(request.workers or default_threads(self.tagger.device), len(files))
        pool = SessionPool(self.tagger, slots=threads * MAX_OPEN_FILES)
        return resources.enter_context(ThreadedRunner(pool, threads, self.model, keep_frames, tracker.advance))


def _summary(request: CatalogRequest, collection: Collection, progress: Progress, tables: TableSummary) -> str:
    parts = [f"{tables.files:,} of {len(collection.files):,} files in {', '.join(map(str, request.outs))}"]
    if tables.failed:
        parts.append(f"{tables.failed:,} failed")
    if progress.seconds:
        speed = f"{progress.times_real_time:.0f} times real time"
        parts.append(f"{format_duration(progress.seconds)} of sound in {format_time(progress.elapsed_s)}, {speed}")
    left = len(collection.files) - tables.files
    if left:
        parts.append(f"{left:,} left: the same command goes on")
    return "; ".join(parts)
