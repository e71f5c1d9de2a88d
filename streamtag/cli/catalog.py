"""`streamtag catalog`: tags a whole collection into one table."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, as_command
from streamtag.cli.options import option
from streamtag.cli.program import Command, Section, UsageError
from streamtag.cli.runtime import Reporter, SignalGuard, report_model, run_command
from streamtag.errors import SourceError
from streamtag.text import format_time, printable

if TYPE_CHECKING:
    from streamtag.catalog.file_task import OnProgress
    from streamtag.catalog.files import AudioFile
    from streamtag.catalog.journal import Journal
    from streamtag.catalog.progress import Progress
    from streamtag.catalog.runner import Runner
    from streamtag.catalog.tables import TableSummary

EPILOG = f"""\b
Examples:
  streamtag catalog ~/Music --out tags.parquet
  streamtag catalog ~/Music --out tags.csv --frames frames.parquet
  streamtag catalog /mnt/music --out tags.parquet --ray       # all cores
  streamtag catalog /mnt/music --out tags.parquet --ray 10.0.0.1:6379
  duckdb -c "select path, techno from 'tags.parquet' order by techno desc"

Results are kept in tags.parquet.journal beside the table. The same command continues where it was interrupted, and
later reads only files that are new or have changed; without that folder it starts again.

{EXIT_CODES}
"""

THIS_MACHINE = "this machine"  # what --ray without an address stands for
ADDRESS = re.compile(r"auto|ray://.+|(\[[0-9a-fA-F:.]+\]|[^\s/:\\]+):[0-9]{1,5}")
MAX_FAILURES_SHOWN = 20  # the table has all


class _CatalogCommand(Command):
    """`--ray` takes the next word only if that is an address."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words: list[str] = []
        for number, word in enumerate(args):
            if word == "--":
                words += args[number:]
                break
            following = args[number + 1] if number + 1 < len(args) else ""
            words.append(f"--ray={THIS_MACHINE}" if word == "--ray" and not ADDRESS.fullmatch(following) else word)
        return super().parse_args(ctx, words)


@as_command("catalog", EPILOG, cls=_CatalogCommand)
@options.with_verbosity
def catalog(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Folders (searched recursively), files, patterns; no addresses.",
            show_default=False,
        ),
    ],
    out: Annotated[
        list[Path],
        option(
            "--out",
            "F",
            "The table, one row per file: F.parquet or F.csv. May be repeated.",
            section=Section.output,
            show_default=False,
        ),
    ],
    frames: Annotated[
        Path | None,
        option(
            "--frames",
            "F",
            "A second table, one row per frame (every 0.256 s): .parquet or .csv.",
            section=Section.output,
        ),
    ] = None,
    top: Annotated[
        int, option("--top", "N", "Number of strongest tags named in the column `top`.", min=1, section=Section.output)
    ] = 5,
    threads: Annotated[
        int | None,
        option(
            "--threads",
            "N",
            "Threads that read files; by default one per core.",
            min=1,
            max=1024,
            section=Section.model,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        option(
            "--ray",
            "[ADDRESS]",
            "Distribute the work with Ray: over the cluster at HOST:PORT, ray://HOST:PORT or auto, which must see the"
            " files at the same paths; without ADDRESS over processes of this machine.",
            section=Section.model,
        ),
    ] = None,
    actors: Annotated[
        int | None,
        option(
            "--actors",
            "N",
            "Ray actors that read files; by default one per core or GPU.",
            min=1,
            max=1024,
            section=Section.model,
        ),
    ] = None,
    model: options.Model = None,
    device: options.ComputeDevice = options.Device.auto,
    verbosity: options.Verbosity = options.Verbosity.normal,
) -> int:
    """Tag a whole collection: many files at once, into a table for DuckDB, pandas or a spreadsheet.

    The mean of every tag is a column. Files that fail are rows with a reason in the column `error`.
    """
    if ray is None and actors is not None:
        raise UsageError("--actors goes with --ray; without it there are --threads")
    if ray is not None and threads is not None:
        raise UsageError("--threads does not go with --ray, which has --actors")

    def work(reporter: Reporter, guard: SignalGuard) -> None:
        from streamtag.catalog.files import Collection
        from streamtag.catalog.table_formats import check_format
        from streamtag.sinks.atomic_file import check_targets

        # Mistakes in the arguments are reported before the model is loaded, which takes seconds.
        outs = tuple(dict.fromkeys(out))
        tables = [*outs, *([frames] if frames else [])]
        for path in tables:
            check_format(path)
        collection = Collection.find(paths)
        check_targets(tables, [file.path for file in collection.files])
        for error in collection.errors:
            reporter.error(error)
        if not collection.files:
            return

        from streamtag.api import load  # after these checks, which do not need torch
        from streamtag.catalog.journal import Journal
        from streamtag.catalog.result import FINGERPRINT_DIGITS
        from streamtag.catalog.tables import TableRequest, write_tables
        from streamtag.model.model_file import fingerprint

        start = time.monotonic()
        tagger = load(model, "cpu" if ray else device.value)
        report_model(tagger, time.monotonic() - start, reporter)
        model_print = fingerprint(tagger.path)[:FINGERPRINT_DIGITS]
        keep_frames = frames is not None

        def open_runner(count: int, on_progress: OnProgress) -> AbstractContextManager[Runner]:
            if ray is not None:
                from streamtag.catalog.actor import Job
                from streamtag.catalog.cluster import Cluster

                job = Job(load, tagger.path.resolve(), model_print, device.value, keep_frames)
                return Cluster(None if ray == THIS_MACHINE else ray, actors, job, on_progress)
            from streamtag.catalog.file_task import TaskConfig
            from streamtag.catalog.runner import MAX_OPEN_FILES, ThreadedRunner, default_threads
            from streamtag.inference.batch import SessionPool

            size = min(threads or default_threads(tagger.device), count)
            pool = SessionPool(tagger, slots=size * MAX_OPEN_FILES)
            return ThreadedRunner(pool, size, TaskConfig(model_print, keep_frames, on_progress))

        with Journal(outs[0].with_name(f"{outs[0].name}.journal")) as journal:
            needed = [file for file in collection.files if not _is_known(journal, file, model_print, keep_frames)]
            known = len(collection.files) - len(needed)
            if known:
                reporter.note(f"{known:,} of {len(collection.files):,} files are known from before")
            progress = _tag(needed, open_runner, journal, reporter, guard)
            hop_s = tagger.network.spec.hop_s
            request = TableRequest(tagger.tags, hop_s, outs, frames, top, MAX_FAILURES_SHOWN)
            summary = write_tables(request, journal, collection.files, model_print)
        for file, reason in summary.failures:
            reporter.error(SourceError(f"{printable(file.path)}: {reason}"))
        if summary.failed > len(summary.failures):
            reporter.note(f"{summary.failed - len(summary.failures):,} more failed: see the column `error`")
        reporter.note(_describe(outs, len(collection.files), progress, summary))

    return run_command(False, work, verbosity)


def _tag(
    files: Sequence[AudioFile],
    open_runner: Callable[[int, OnProgress], AbstractContextManager[Runner]],
    journal: Journal,
    reporter: Reporter,
    guard: SignalGuard,
) -> Progress:
    """Tag the files, each once under all its names, until all are done or a signal comes; keep all results so far."""
    from rich.console import Console

    from streamtag.catalog.files import hard_links
    from streamtag.catalog.progress import ProgressBar, ProgressTracker

    links = hard_links(files)
    firsts = [names[0] for names in links.values()]
    other_names = {names[0].abspath: names[1:] for names in links.values()}
    tracker = ProgressTracker(len(firsts), sum(file.size for file in firsts))
    with ExitStack() as resources:
        resources.callback(journal.commit)
        if firsts:
            runner = resources.enter_context(open_runner(len(firsts), tracker.advance))
            resources.enter_context(guard)
            console = Console(stderr=True, highlight=False, quiet=not reporter.may_draw(json=False))
            bar = resources.enter_context(ProgressBar(console, reporter.note))
            for item in runner.run(firsts):
                if item is not None:
                    result = journal.add(*item)
                    for file in other_names[result.abspath]:
                        journal.add(result.for_link(file), None)
                    tracker.finish(result)
                bar.show(tracker.progress())
                if guard.stop_requested:
                    break
    return tracker.progress()


def _is_known(journal: Journal, file: AudioFile, model_print: str, with_frames: bool) -> bool:
    """Return True if the journal has a result of this file and model, with frames if they are needed."""
    result = journal.find(file, model_print)
    return result is not None and result.error is None and not (with_frames and result.frames_offset is None)


def _describe(outs: Sequence[Path], count: int, progress: Progress, summary: TableSummary) -> str:
    from streamtag.catalog.progress import format_duration

    parts = [f"{summary.files:,} of {count:,} files in {', '.join(map(str, outs))}"]
    if summary.failed:
        parts.append(f"{summary.failed:,} failed")
    if progress.seconds:
        speed = f"{progress.times_real_time:.0f} times real time"
        parts.append(f"{format_duration(progress.seconds)} of sound in {format_time(progress.elapsed_s)}, {speed}")
    if remaining := count - summary.files:
        parts.append(f"{remaining:,} left: the same command goes on")
    return "; ".join(parts)
