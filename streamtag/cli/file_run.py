"""`streamtag file`: sounds in, results out. The wiring between sources, streams and sinks."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from streamtag.audio.files import find_files, stream_names, target_paths
from streamtag.audio.prefetch import POLL_INTERVAL_S, PrefetchReader
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.cli.hello import hello
from streamtag.cli.reporter import Reporter
from streamtag.cli.running import run_command
from streamtag.cli.serving import serve
from streamtag.cli.signals import SignalGuard
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


@dataclass(frozen=True)
class FileRequest:
    """What the user asked for. None: not wanted, or left to the model."""

    sources: tuple[str, ...]
    json: bool = False
    csv: Path | None = None
    labels: Path | None = None
    plot: Path | None = None
    top: int | None = None
    tags: tuple[str, ...] | None = None
    threshold: float | None = None
    realtime: bool = False
    serve: ServerConfig | None = None
    model: Path | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Plan:
    """What will be read, and where each stream's own files go, by the stream's name."""

    sources: tuple[str, ...]
    names: tuple[str, ...]
    labels: dict[str, Path]
    plots: dict[str, Path]


def run(request: FileRequest) -> int:
    """Does it. -> the exit code. Raises BrokenPipeError as run_reported does; rows of a table so far are kept."""
    return run_command(request.json, partial(_run, request))


def _run(request: FileRequest, reporter: Reporter, interruption: SignalGuard) -> None:
    # What can be wrong with the request is found before the seconds that loading takes.
    sources, missing = _expanded(request.sources)
    plan = _planned(request, sources)
    if not sources:
        for error in missing:
            reporter.error(error)
        return

    from streamtag.api import load  # late: torch

    tagger = load(request.model, request.device)
    selection = Selection.of(
        tagger.tags, tagger.thresholds, names=request.tags, top=request.top, threshold=request.threshold
    )
    greeting = hello(tagger, selection.thresholds)
    with ExitStack() as resources:
        sinks = _sinks(request, plan, selection, resources)
        if request.serve is not None:
            sinks.append(CallbackSink(serve(request.serve, greeting, reporter, resources).publish))
        group = SinkGroup(sinks)
        work = Work(tagger, selection, group, request.realtime, reporter, interruption)
        if request.json:
            write_line(sys.stdout, greeting)
        for error in missing:
            reporter.error(error)
        resources.enter_context(interruption)
        for number, (source, name) in enumerate(zip(plan.sources, plan.names, strict=True)):
            work.hear(source, StreamInfo(name, number, len(plan.sources)))
            group.raise_failure()
            if interruption.wanted:
                reporter.note(f"interrupted in {name}: these are the results so far")
                return


@dataclass(frozen=True)
class Work:
    """What all streams of one call share."""

    tagger: Tagger
    selection: Selection
    sinks: SinkGroup
    realtime: bool
    reporter: Reporter
    interruption: SignalGuard

    def hear(self, source: str, stream: StreamInfo) -> None:
        """One stream from its source to its end. A source that fails, even in the middle, is reported."""
        from streamtag.inference.session import Session  # late: torch

        hearing: StreamPipeline | None = None
        failure: SourceError | None = None
        follow = paced if self.realtime else unpaced
        with PrefetchReader(source) as reader:
            try:
                for samples in follow(reader, self.interruption):
                    if hearing is None:  # only now is it known that there is something to hear
                        known = replace(stream, duration_s=reader.info.duration_s if reader.info else None)
                        detector = EventDetector(self.tagger.tags, self.selection.thresholds)
                        hearing = StreamPipeline(stream.name, Session(self.tagger), detector, self.sinks.publish)
                        self.sinks.begin(known, hearing.timeline)
                    hearing.feed(samples)
                    if self.sinks.has_failed:
                        break
            except SourceError as error:
                failure = error
            if hearing is not None:
                hearing.end()
            for warning in reader.warnings:
                self.reporter.note(f"{stream.name}: {warning}")
        if failure is not None:
            self.reporter.error(failure)


def unpaced(reader: PrefetchReader, interruption: SignalGuard) -> Iterator[NDArray[np.float32]]:
    """Slices of a source [n], n > 0, as fast as they are decoded; ends early when a signal comes."""
    for samples in reader:
        if interruption.wanted:
            return
        if len(samples):
            yield samples


def paced(reader: PrefetchReader, interruption: SignalGuard) -> Iterator[NDArray[np.float32]]:
    """The same, chunk by chunk, none before it would have been played: the first sample plays now."""
    began, played = None, 0
    while not interruption.wanted and (samples := reader.read(enough=1)) is not None:
        if not len(samples):
            continue
        began = time.monotonic() if began is None else began
        played += len(samples)
        while (early := began + played / SAMPLE_RATE - time.monotonic()) > 0:
            if interruption.wanted:
                return
            time.sleep(min(early, POLL_INTERVAL_S))
        yield samples


def _expanded(arguments: Sequence[str]) -> tuple[list[str], list[SourceError]]:
    """The sounds that the arguments name, each once, and an error for each argument that names none."""
    found: dict[str, None] = {}
    missing: list[SourceError] = []
    for argument in arguments:
        try:
            found.update(dict.fromkeys(find_files([argument])))
        except SourceError as error:
            missing.append(error)
    return list(found), missing


def _planned(request: FileRequest, sources: Sequence[str]) -> Plan:
    """Raises OutputError if a result cannot be written to where the user wants it, or must not be."""
    names = stream_names(sources)
    labels, plots = (
        {} if base is None else dict(zip(names, target_paths(base, names), strict=True))
        for base in (request.labels, request.plot)
    )
    for path in plots.values():
        check_format(path)
    check_targets([*labels.values(), *plots.values(), *([request.csv] if request.csv else [])], sources)
    return Plan(tuple(sources), tuple(names), labels, plots)


def _sinks(request: FileRequest, plan: Plan, selection: Selection, resources: ExitStack) -> list[Sink]:
    """In the order in which they are told: the view wipes itself away before a result is printed."""
    sinks: list[Sink] = []
    # The view and the messages on one terminal would be drawn over each other.
    if sys.stderr.isatty() and not (request.json and sys.stdout.isatty()):
        panel = FileProgressView(Console(stderr=True, highlight=False), selection)
        resources.callback(panel.close)
        sinks.append(panel)
    sinks.append(JsonLines(sys.stdout, selection) if request.json else SummaryTable(sys.stdout, selection))
    if request.csv is not None:
        sinks.append(resources.enter_context(CsvFile(request.csv, selection)))
    if plan.labels:
        sinks.append(LabelTrack(plan.labels, selection))
    if plan.plots:
        sinks.append(Tagogram(plan.plots, selection))
    return sinks
