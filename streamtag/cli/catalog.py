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
from streamtag.cli.runtime import Reporter, SignalGuard, import_torch, report_model, run_command
from streamtag.errors import SourceError
from streamtag.text import format_time, plural, printable

if TYPE_CHECKING:
    from streamtag.catalog.file_task import OnProgress
    from streamtag.catalog.files import AudioFile
    from streamtag.catalog.journal import Journal
    from streamtag.catalog.progress import Progress
    from streamtag.catalog.runner import Runner
    from streamtag.catalog.tables import TableRequest, TableSummary
    from streamtag.catalog.update import Changes, Update

EPILOG = f"""\b
Examples:
  streamtag catalog ~/Music --out tags.parquet
  streamtag catalog ~/Music --out tags.csv --frames frames.parquet
  streamtag catalog /mnt/music --out tags.parquet --ray       # all cores
  streamtag catalog /mnt/music --out tags.parquet --ray 10.0.0.1:6379
  duckdb -c "select path, verdict from 'tags.parquet' order by techno desc"

Results are kept in tags.parquet.journal beside the table. The same command continues where it was interrupted, and
later reads only files that are new or have changed. Other paths are added to the table: rows of earlier runs stay.

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
            "--out F",
            Section.output,
            "The table, one row per file: F.parquet or F.csv. May be repeated.",
            show_default=False,
        ),
    ],
    frames: Annotated[
        Path | None,
        option("--frames F", Section.output, "A second table, one row per frame (every 0.256 s): .parquet or .csv."),
    ] = None,
    top: Annotated[
        int, option("--top N", Section.output, "Number of strongest tags named in the column `top`.", min=1)
    ] = 5,
    threads: Annotated[
        int | None,
        option("--threads N", Section.model, "Threads that read files; by default one per core.", min=1, max=1024),
    ] = None,
    ray: Annotated[
        str | None,
        option(
            "--ray [ADDRESS]",
            Section.model,
            "Distribute the work with Ray: over the cluster at HOST:PORT, ray://HOST:PORT or auto, which must see the"
            " files at the same paths; without ADDRESS over processes of this machine.",
        ),
    ] = None,
    actors: Annotated[
        int | None,
        option(
            "--actors N", Section.model, "Ray actors that read files; by default one per core or GPU.", min=1, max=1024
        ),
    ] = None,
    prune: Annotated[
        bool,
        option(
            "--prune",
            Section.output,
            "Also remove rows of files that no longer exist. Nothing is removed if a PATH is not found.",
        ),
    ] = False,
    replace: Annotated[
        bool,
        option(
            "--replace",
            Section.output,
            "Keep no row but those of the files named now, whatever table is there, also of another model.",
        ),
    ] = False,
    model: options.Model = None,
    device: options.ComputeDevice = "auto",
    verbosity: options.Verbosity = options.Verbosity.normal,
) -> int:
    """Tag a whole collection: many files at once, into a table for DuckDB, pandas or a spreadsheet.

    The mean of every concept and every tag is a column, `present` and `verdict` name the concepts that the file
    contains. Files that fail are rows with a reason in the column `error`.
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

        import_torch()
        from streamtag.api import load  # after these checks, which do not need torch
        from streamtag.catalog.journal import Journal
        from streamtag.catalog.result import FINGERPRINT_DIGITS
        from streamtag.catalog.tables import TableRequest, write_tables
        from streamtag.catalog.update import Update, UpdateConfig
        from streamtag.model.model_file import fingerprint

        start = time.monotonic()
        tagger = load(model, "cpu" if ray else device)
        report_model(tagger, time.monotonic() - start, reporter)
        model_print = fingerprint(tagger.path)[:FINGERPRINT_DIGITS]
        keep_frames = frames is not None

        def open_runner(count: int, on_progress: OnProgress) -> AbstractContextManager[Runner]:
            if ray is not None:
                from streamtag.catalog.actor import Job
                from streamtag.catalog.cluster import Cluster

                job = Job(load, tagger.path.resolve(), model_print, device, keep_frames)
                return Cluster(None if ray == THIS_MACHINE else ray, actors, job, on_progress)
            from streamtag.catalog.file_task import TaskConfig
            from streamtag.catalog.runner import MAX_OPEN_FILES, ThreadedRunner, default_threads
            from streamtag.inference.batch import SessionPool

            size = min(threads or default_threads(tagger.device), count)
            pool = SessionPool(tagger, slots=size * MAX_OPEN_FILES)
            return ThreadedRunner(pool, size, TaskConfig(model_print, keep_frames, on_progress))

        hop_s, concept_map = tagger.network.spec.hop_s, tagger.network.concept_map
        request = TableRequest(tagger.tags, tagger.concepts, concept_map, hop_s, outs, frames, top, MAX_FAILURES_SHOWN)
        config = UpdateConfig(model_print, keep_frames, prune and not collection.errors, replace)
        with Journal(outs[0].with_name(f"{outs[0].name}.journal"), replace) as journal:
            update = Update(journal, collection.files, config)
            _check_tables(update, request)
            known = len(collection.files) - len(update.needed)
            if known:
                reporter.note(f"{known:,} of {len(collection.files):,} files are known from before")
            progress, tagged = _tag(update.needed, open_runner, journal, reporter, guard)
            _check_tables(update, request)  # another run may have written one meanwhile
            named = {file.abspath: file.path for file in collection.files}
            summary = write_tables(request, journal, update.rows, named)
            changes = update.changes(tagged)
            update.remove_dropped()
        for name, reason in summary.failures:
            reporter.error(SourceError(f"{printable(name)}: {reason}"))
        if summary.failed > len(summary.failures):
            reporter.note(f"{summary.failed - len(summary.failures):,} more failed: see the column `error`")
        if prune and collection.errors:
            reporter.note("--prune removed nothing, since a path was not found")
        if frames is not None and summary.without_frames:
            files = plural(summary.without_frames, "file")
            reporter.note(f"{frames}: is without {files} tagged without --frames: name them too to add them")
        reporter.note(_describe(outs, len(collection.files), progress, summary, changes))

    return run_command(False, work, verbosity)


def _tag(
    files: Sequence[AudioFile],
    open_runner: Callable[[int, OnProgress], AbstractContextManager[Runner]],
    journal: Journal,
    reporter: Reporter,
    guard: SignalGuard,
) -> tuple[Progress, set[str]]:
    """Tag the files, each once under all its names, until all are done or a signal comes; keep all results so far.

    Returns the paths from the root of those that were tagged.
    """
    from rich.console import Console

    from streamtag.catalog.files import hard_links
    from streamtag.catalog.progress import ProgressBar, ProgressTracker

    links = hard_links(files)
    firsts = [names[0] for names in links.values()]
    names_of = {names[0].abspath: names for names in links.values()}
    tagged: set[str] = set()
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
                    result, frames = item
                    for file in names_of[result.abspath]:
                        result, frames = journal.add(result.named(file), frames), None
                        tagged.add(file.abspath)
                    tracker.finish(result)
                bar.show(tracker.progress())
                if guard.stop_requested:
                    break
    return tracker.progress(), tagged


def _check_tables(update: Update, request: TableRequest) -> None:
    """Raise OutputError if the tables that are there would lose rows."""
    from streamtag.catalog.tables import FILE_COLUMNS, FRAME_COLUMNS

    update.check_tables([(path, [*FILE_COLUMNS, *request.file_labels]) for path in request.outs])
    if request.frames is not None:
        update.check_tables([(request.frames, [*FRAME_COLUMNS, *request.frame_labels])], with_frames=True)


def _describe(outs: Sequence[Path], count: int, progress: Progress, summary: TableSummary, changes: Changes) -> str:
    from streamtag.catalog.progress import format_duration

    parts = [f"{count - changes.left:,} of {count:,} files in {', '.join(map(str, outs))}"]
    if str(changes):
        parts[0] += f": {changes}"
    if summary.failed:
        parts.append(f"{summary.failed:,} failed")
    if progress.seconds:
        speed = f"{progress.times_real_time:.0f} times real time"
        parts.append(f"{format_duration(progress.seconds)} of sound in {format_time(progress.elapsed_s)}, {speed}")
    if changes.left:
        parts.append(f"{changes.left:,} left: the same command goes on")
    return "; ".join(parts)
