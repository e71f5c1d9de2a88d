"""The loop of a live stream: audio from a source in, frames out, as they come."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.level_meter import Meter
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.audio.source import AudioChunk, AudioGap, AudioSource, CaptureEvent, SourceNotice
from streamtag.cli.live_outputs import LiveOutputs
from streamtag.cli.runtime import SignalGuard
from streamtag.errors import SourceError
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.timeline import MAX_LIVE_ROWS, StreamInfo
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import SinkGroup

if TYPE_CHECKING:
    from streamtag.api import Tagger

POLL_INTERVAL_S = 0.05  # how long the loop waits for audio before it looks at keys and signals


@dataclass(frozen=True)
class Limits:
    """seconds: of sound after which the stream ends (None: never). reset_on_silence_s: the network's context is reset
    when sound returns after this much silence (None: never)."""

    seconds: float | None = None
    reset_on_silence_s: float | None = None


class StreamInput(Protocol):
    """Where the audio of a stream goes: a StreamPipeline, or one that passes it on."""

    @property
    def seconds(self) -> float: ...

    def feed(self, samples: NDArray[np.float32], captured_at: float) -> None: ...

    def insert_gap(self, samples: int) -> None: ...

    def reset_context(self) -> None: ...

    def report_error(self, text: str) -> None: ...


class LiveRunner:
    """Runs one live stream. The thread that calls `run` is the only one that computes.

    meter: receives the audio and the compute time. notify: receives the source's notices.
    """

    def __init__(
        self,
        source: AudioSource,
        pipeline: StreamInput,
        meter: Meter,
        limits: Limits,
        notify: Callable[[SourceNotice], None],
    ) -> None:
        self._source = source
        self._pipeline = pipeline
        self._meter = meter
        self._limits = limits
        self._notify = notify
        self._started_at = time.monotonic()
        self._was_silent = False  # for longer than the limit

    def run(self, first: CaptureEvent, should_continue: Callable[[], bool]) -> None:
        """Run until the source ends, the limit is reached or should_continue() is false; does not end the pipeline.

        first: what was read from the source already.
        """
        event: CaptureEvent | None = first
        while event is not None and self._process(event) and should_continue():
            event = self._source.read(POLL_INTERVAL_S)

    def reset_context(self) -> None:
        """Reset the network's context; the stream continues."""
        self._pipeline.reset_context()
        self._notify(SourceNotice("the network's context was reset", is_problem=False))

    def _process(self, event: CaptureEvent) -> bool:
        """Return False when the limit is reached."""
        if isinstance(event, AudioChunk):
            if not len(event.samples):  # the limit also holds by the clock when no audio arrives
                return time.monotonic() - self._started_at < (self._limits.seconds or float("inf"))
            self._feed(event)
        elif isinstance(event, AudioGap):
            self._pipeline.insert_gap(event.samples)
        else:
            self._notify(event)
            if event.is_problem:
                self._pipeline.report_error(event.text)
        return self._limits.seconds is None or self._pipeline.seconds < self._limits.seconds

    def _feed(self, chunk: AudioChunk) -> None:
        samples = chunk.samples
        if self._limits.seconds is not None:
            samples = samples[: max(0, round((self._limits.seconds - self._pipeline.seconds) * SAMPLE_RATE))]
        self._meter.add_chunk(chunk)
        self._meter.set_xruns(self._source.xruns)
        began = time.perf_counter()
        self._pipeline.feed(samples, chunk.arrival_time - self._source.latency_s)
        self._meter.add_work(time.perf_counter() - began, len(samples))
        if self._limits.reset_on_silence_s is not None:
            is_silent = self._meter.silence_s >= self._limits.reset_on_silence_s
            if self._was_silent and not is_silent:  # when sound returns: until then only silence follows
                self.reset_context()
            self._was_silent = is_silent


def first_event(source: AudioSource, should_continue: Callable[[], bool]) -> CaptureEvent | None:
    """Return the first event that is not an empty chunk; None at the end of the source or if not should_continue()."""
    while should_continue():
        event = source.read(POLL_INTERVAL_S)
        if not isinstance(event, AudioChunk) or len(event.samples):
            return event
    return None


def warm_up(tagger: Tagger) -> None:
    """Process some hops before anyone waits for them: the first ones take longer, because transforms are planned."""
    from streamtag.inference.session import Session  # late: torch

    Session(tagger).feed(np.zeros(3 * tagger.network.spec.sample_rate, np.float32))


def run_stream(
    tagger: Tagger,
    selection: Selection,
    audio: AudioSource,
    name: str,
    limits: Limits,
    outputs: LiveOutputs,
    guard: SignalGuard,
) -> None:
    """Tag the stream until it ends, the user stops it or an output fails. Report it if there is no sound at all.

    Raises what the output raised.
    """
    from streamtag.inference.session import Session  # late: torch

    first = first_event(audio, lambda: not guard.stop_requested)
    if first is None:
        if not guard.stop_requested:
            outputs.reporter.error(SourceError(f"{audio.name}: there was no sound"))
        return
    sinks, panel = SinkGroup(outputs.sinks), outputs.panel
    thresholds = selection.concept_thresholds
    pipeline = StreamPipeline(name, Session(tagger), sinks.publish, thresholds, MAX_LIVE_ROWS)
    sinks.begin(StreamInfo(name, source=audio.description), pipeline.timeline)
    runner = LiveRunner(audio, pipeline, outputs.meter, limits, outputs.reporter.notify)

    if panel is not None:
        panel.actions["r"] = runner.reset_context

    def should_continue() -> bool:
        return not (guard.stop_requested or sinks.has_failed or (panel is not None and panel.stop_requested()))

    try:
        with panel or nullcontext():
            runner.run(first, should_continue)
    finally:
        pipeline.end()
    sinks.raise_failure()
