"""The loop of a live stream: pieces of sound in, frames out, as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from streamtag.audio.level_meter import Meter
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.audio.source import AudioChunk, AudioGap, AudioSource, CaptureEvent, SourceNotice
from streamtag.errors import SpecError
from streamtag.inference.pipeline import StreamPipeline

WAIT_S = 0.05  # how long the loop waits for sound before it looks at keys and signals


@dataclass(frozen=True)
class Limits:
    """seconds: of sound after which it ends (None: never). reset_on_silence_s: the network forgets when
    sound comes back after so much silence (None: never)."""

    seconds: float | None = None
    reset_on_silence_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "reset_on_silence_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise SpecError(f"Limits: {name} must be above 0")


class LiveRunner:
    """Owns one live stream while it goes on. The thread that runs it is the only one that computes.

    meter: is told of the sound and the work; a sink of `hearing` tells it the rest. say: what to do with notices.
    """

    def __init__(
        self,
        capture: AudioSource,
        hearing: StreamPipeline,
        meter: Meter,
        limits: Limits,
        say: Callable[[SourceNotice], None],
    ) -> None:
        self._capture = capture
        self._hearing = hearing
        self._meter = meter
        self._limits = limits
        self._say = say
        self._began = time.monotonic()
        self._rested = False  # it was silent for long, and still is

    def run(
        self,
        first: CaptureEvent,
        wanted: Callable[[], bool],
        pressed: Callable[[], str | None],
        keys: Mapping[str, Callable[[], None]],
    ) -> None:
        """Until the source ends, the limit is reached, or `wanted` no longer says so. The stream's end is not told.

        first: what was taken from the capture already. keys: what is done for each key that `pressed` gives.
        """
        piece: CaptureEvent | None = first
        while piece is not None and self._goes_on(piece) and wanted():
            key = pressed()
            if key is not None and key in keys:
                keys[key]()
            piece = self._capture.read(WAIT_S)

    def forget(self) -> None:
        """The network forgets what it heard; the stream goes on."""
        self._hearing.reset_context()
        self._say(SourceNotice("the network has forgotten what it heard", is_problem=False))

    def _goes_on(self, piece: CaptureEvent) -> bool:
        if isinstance(piece, AudioChunk):
            return self._heard(piece)
        if isinstance(piece, AudioGap):
            self._hearing.insert_gap(piece.samples)
        elif isinstance(piece, SourceNotice):
            self._say(piece)
            if piece.is_problem:
                self._hearing.report_error(piece.text)
        return not self._over()

    def _heard(self, piece: AudioChunk) -> bool:
        if not len(piece.samples):
            return self._limits.seconds is None or time.monotonic() - self._began < self._limits.seconds
        samples = piece.samples
        if self._limits.seconds is not None:
            samples = samples[: max(0, round((self._limits.seconds - self._hearing.seconds) * SAMPLE_RATE))]
        self._meter.add_chunk(piece)
        self._meter.set_xruns(self._capture.xruns)
        before = time.perf_counter()
        self._hearing.feed(samples, piece.arrival_time - self._capture.latency_s)
        self._meter.add_work(time.perf_counter() - before, len(samples))
        self._watch_silence()
        return not self._over()

    def _over(self) -> bool:
        return self._limits.seconds is not None and self._hearing.seconds >= self._limits.seconds

    def _watch_silence(self) -> None:
        """When sound is back, not before: what the network would make of the rest of the silence is nothing new."""
        longest = self._limits.reset_on_silence_s
        if longest is None:
            return
        silent = self._meter.silence_s >= longest
        if self._rested and not silent:
            self.forget()
        self._rested = silent
