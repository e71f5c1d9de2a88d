"""The work of `streamtag file`: finds the sources and runs one stream after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.decoder import Source, SourceSpec, open_source
from streamtag.audio.files import find_files
from streamtag.audio.prefetch import PrefetchReader
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.audio.threaded import POLL_INTERVAL_S
from streamtag.cli.runtime import Reporter, SignalGuard
from streamtag.errors import OutputError, SourceError
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.timeline import StreamInfo
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import SinkGroup
from streamtag.text import plural

if TYPE_CHECKING:
    from streamtag.api import Tagger


@dataclass(frozen=True)
class FileRunner:
    """Runs one stream after the other from its source to its end.

    spec: which part of each source is read. clock, sleep: in seconds, for what is read in real time.
    """

    tagger: Tagger
    selection: Selection
    sinks: SinkGroup
    realtime: bool
    reporter: Reporter
    guard: SignalGuard
    spec: SourceSpec
    open_source: Callable[[str, SourceSpec], Source] = open_source
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self, source: str, stream: StreamInfo) -> bool:
        """Return whether the source was read to its end. Report one that fails, even in the middle.

        Raises what a failed sink raised, after the stream's end.
        """
        from streamtag.inference.overlapped import open_file_session  # late: torch
        from streamtag.inference.session import Session

        pipeline: StreamPipeline | None = None
        failure: SourceError | None = None
        start = time.monotonic()
        with ExitStack() as resources:
            reader = resources.enter_context(PrefetchReader(source, lambda where: self.open_source(where, self.spec)))
            try:
                for samples in self._paced(reader) if self.realtime else unpaced(reader, self.guard):
                    if pipeline is None:  # now it is known that the source contains sound
                        thresholds = self.selection.concept_thresholds
                        start_s = self.spec.start_s
                        session = (
                            Session(self.tagger, start_s)
                            if self.realtime
                            else resources.enter_context(open_file_session(self.tagger, start_s))
                        )
                        pipeline = StreamPipeline(stream.name, session, self.sinks.publish, thresholds)
                        duration_s = reader.info.duration_s if reader.info else None
                        self.sinks.begin(replace(stream, duration_s=duration_s, start_s=start_s), pipeline.timeline)
                    pipeline.feed(samples)
                    if self.sinks.has_failed:
                        break
            except SourceError as error:
                failure = error
            if pipeline is not None:
                pipeline.end()
                self._describe(reader, pipeline, time.monotonic() - start)
            for warning in reader.warnings:
                self.reporter.note(f"{stream.name}: {warning}")
        if failure is not None:
            self.reporter.error(failure)
        self.sinks.raise_failure()
        return failure is None and not self.guard.stop_requested

    def _paced(self, reader: PrefetchReader) -> Iterator[NDArray[np.float32]]:
        """Yield chunks [n], n > 0, none before it would have been played: the first sample plays now."""
        start, played = None, 0
        while not self.guard.stop_requested and (samples := reader.read(enough=1)) is not None:
            if not len(samples):
                continue
            start = self.clock() if start is None else start
            played += len(samples)
            while (early_s := start + played / SAMPLE_RATE - self.clock()) > 0:
                if self.guard.stop_requested:
                    return
                self.sleep(min(early_s, POLL_INTERVAL_S))
            yield samples

    def _describe(self, reader: PrefetchReader, pipeline: StreamPipeline, elapsed_s: float) -> None:
        if (info := reader.info) is not None:
            form = f"{info.codec}, {info.sample_rate} Hz, {plural(info.channels, 'channel')}"
            seconds = pipeline.timeline.seconds
            speed = f"{seconds:.1f} s in {elapsed_s:.1f} s, {seconds / max(elapsed_s, 1e-3):.0f} times real time"
            self.reporter.detail(f"{info.name}: {form}; {speed}")


def report_genres(source: str, genres: Sequence[str], force: bool, reporter: Reporter) -> None:
    """Write genres into the tags of a source, and report what was done."""
    from streamtag.sinks.genre_tags import write_genres

    try:
        reporter.note(write_genres(source, genres, force=force))
    except OutputError as error:
        reporter.error(error)


def unpaced(reader: PrefetchReader, guard: SignalGuard) -> Iterator[NDArray[np.float32]]:
    """Yield chunks [n], n > 0, as fast as they are decoded, until the end or a signal."""
    for samples in reader:
        if guard.stop_requested:
            return
        if len(samples):
            yield samples


def find_sources(arguments: Sequence[str]) -> tuple[list[str], list[SourceError]]:
    """Return each source once, and an error for each argument that names none."""
    found: dict[str, None] = {}
    missing: list[SourceError] = []
    for argument in arguments:
        try:
            found.update(dict.fromkeys(find_files([argument])))
        except SourceError as error:
            missing.append(error)
    return list(found), missing
