"""`streamtag file`: tags files, folders, URLs and standard input."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from streamtag.audio.files import find_files, stream_names, target_paths
from streamtag.audio.prefetch import POLL_INTERVAL_S, PrefetchReader
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, as_command
from streamtag.cli.options import option
from streamtag.cli.runtime import Reporter, SignalGuard, load_model, run_command, shares_terminal, start_server
from streamtag.errors import SourceError
from streamtag.inference.events import EventDetector
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.timeline import StreamInfo
from streamtag.protocol.selection import Selection
from streamtag.sinks.atomic_file import check_targets
from streamtag.sinks.audacity import LabelTrack
from streamtag.sinks.base import CallbackSink, Sink, SinkGroup
from streamtag.sinks.csv import CsvFile
from streamtag.sinks.jsonl import JsonLines, write_line
from streamtag.sinks.plot import Tagogram, check_format
from streamtag.terminal.file_view import FileProgressView
from streamtag.terminal.summary import SummaryTable

if TYPE_CHECKING:
    from streamtag.api import Tagger
    from streamtag.server.config import ServerConfig

SEVERAL = "With several inputs one file each, named F-<name>."
EPILOG = f"""\b
Examples:
  streamtag file song.mp3
  streamtag file "music/**/*.flac" --csv tags.csv --plot tags.png
  streamtag file song.mp3 --realtime --serve 8765    then open http://127.0.0.1:8765/ in a browser
  streamtag file talk.mp4 --labels talk.txt --tags "male voice,female voice"
  curl -s https://example.org/song.ogg | streamtag file - --json --top 5

{EXIT_CODES}
"""


@as_command("file", EPILOG)
@options.with_serve
def file(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH|URL|-...",
            help="Audio or video files, folders (with subfolders), patterns, http(s) URLs, or - for standard input.",
            show_default=False,
        ),
    ],
    json: options.JsonLines = False,
    csv: Annotated[
        Path | None, option("--csv", "F", "Write a table: one row per frame (0.256 s), one column per tag; all inputs.")
    ] = None,
    labels: Annotated[
        Path | None,
        option("--labels", "F", f"Write a label track for Audacity: start and end [s] of every tag. {SEVERAL}"),
    ] = None,
    plot: Annotated[
        Path | None,
        option("--plot", "F.png", f"Draw the tags over time (.png, .svg or .pdf), 20 tags without --top. {SEVERAL}"),
    ] = None,
    top: Annotated[
        int | None,
        option(
            "--top",
            "N",
            "Only the N strongest tags: in the table (10 by default), the picture, and each JSON frame and summary"
            " (all by default). Does not apply to --csv and --labels.",
            min=1,
        ),
    ] = None,
    tags: options.Tags = None,
    threshold: options.Threshold = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Read no faster than the sound would play.")] = False,
    server: ServerConfig | None = None,
    model: options.Model = None,
    device: options.ComputeDevice = options.Device.auto,
) -> int:
    """Tag sounds: files, folders, URLs, standard input.

    On a terminal the strongest tags are shown while the sound is read; the results follow on standard output.
    """

    def work(reporter: Reporter, guard: SignalGuard) -> None:
        # Mistakes in the arguments are reported before the model is loaded, which takes seconds.
        paths, missing = _find_sources(sources)
        names = stream_names(paths)
        label_paths, plot_paths = (
            {} if base is None else dict(zip(names, target_paths(base, names), strict=True)) for base in (labels, plot)
        )
        for path in plot_paths.values():
            check_format(path)
        check_targets([*label_paths.values(), *plot_paths.values(), *([csv] if csv else [])], paths)
        if not paths:
            for error in missing:
                reporter.error(error)
            return

        tagger, selection, greeting = load_model(model, device.value, tags, top, threshold)
        with ExitStack() as resources:
            sinks: list[Sink] = []  # the view comes first: it erases itself before a result is printed
            if sys.stderr.isatty() and not shares_terminal(json):
                view = FileProgressView(Console(stderr=True, highlight=False), selection)
                resources.callback(view.close)
                sinks.append(view)
            sinks.append(JsonLines(sys.stdout, selection) if json else SummaryTable(sys.stdout, selection))
            if csv is not None:
                sinks.append(resources.enter_context(CsvFile(csv, selection)))
            if label_paths:
                sinks.append(LabelTrack(label_paths, selection))
            if plot_paths:
                sinks.append(Tagogram(plot_paths, selection))
            if server is not None:
                sinks.append(CallbackSink(start_server(server, greeting, reporter, resources).publish))
            if json:
                write_line(sys.stdout, greeting)
            for error in missing:
                reporter.error(error)
            resources.enter_context(guard)
            runner = FileRunner(tagger, selection, SinkGroup(sinks), realtime, reporter, guard)
            for number, (source, name) in enumerate(zip(paths, names, strict=True)):
                runner.run(source, StreamInfo(name, number, len(paths)))
                if guard.stop_requested:
                    reporter.note(f"interrupted in {name}: these are the results so far")
                    return

    return run_command(json, work)


@dataclass(frozen=True)
class FileRunner:
    """Runs one stream after the other from its source to its end."""

    tagger: Tagger
    selection: Selection
    sinks: SinkGroup
    realtime: bool
    reporter: Reporter
    guard: SignalGuard
    open_reader: Callable[[str], PrefetchReader] = PrefetchReader

    def run(self, source: str, stream: StreamInfo) -> None:
        """Report a source that fails, even in the middle. Raises what a failed sink raised, after the stream's end."""
        from streamtag.inference.session import Session  # late: torch

        pipeline: StreamPipeline | None = None
        failure: SourceError | None = None
        with self.open_reader(source) as reader:
            try:
                for samples in (paced if self.realtime else unpaced)(reader, self.guard):
                    if pipeline is None:  # now it is known that the source contains sound
                        detector = EventDetector(self.tagger.tags, self.selection.thresholds)
                        pipeline = StreamPipeline(stream.name, Session(self.tagger), detector, self.sinks.publish)
                        duration_s = reader.info.duration_s if reader.info else None
                        self.sinks.begin(replace(stream, duration_s=duration_s), pipeline.timeline)
                    pipeline.feed(samples)
                    if self.sinks.has_failed:
                        break
            except SourceError as error:
                failure = error
            if pipeline is not None:
                pipeline.end()
            for warning in reader.warnings:
                self.reporter.note(f"{stream.name}: {warning}")
        if failure is not None:
            self.reporter.error(failure)
        self.sinks.raise_failure()


def unpaced(reader: PrefetchReader, guard: SignalGuard) -> Iterator[NDArray[np.float32]]:
    """Yield chunks [n], n > 0, as fast as they are decoded, until the end or a signal."""
    for samples in reader:
        if guard.stop_requested:
            return
        if len(samples):
            yield samples


def paced(reader: PrefetchReader, guard: SignalGuard) -> Iterator[NDArray[np.float32]]:
    """Yield chunks [n], n > 0, none before it would have been played: the first sample plays now."""
    start, played = None, 0
    while not guard.stop_requested and (samples := reader.read(enough=1)) is not None:
        if not len(samples):
            continue
        start = time.monotonic() if start is None else start
        played += len(samples)
        while (early_s := start + played / SAMPLE_RATE - time.monotonic()) > 0:
            if guard.stop_requested:
                return
            time.sleep(min(early_s, POLL_INTERVAL_S))
        yield samples


def _find_sources(arguments: Sequence[str]) -> tuple[list[str], list[SourceError]]:
    """Return each source once, and an error for each argument that names none."""
    found: dict[str, None] = {}
    missing: list[SourceError] = []
    for argument in arguments:
        try:
            found.update(dict.fromkeys(find_files([argument])))
        except SourceError as error:
            missing.append(error)
    return list(found), missing
