"""One stream on its way: samples in, frames and events to every sink."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.prefetch import WAIT_S, PrefetchReader
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.cli.signals import SignalGuard
from streamtag.inference.events import EventDetector
from streamtag.inference.frame import TagFrame
from streamtag.inference.timeline import Timeline
from streamtag.protocol.messages import Error, Event, Gap
from streamtag.sinks.base import Sink, Stream

if TYPE_CHECKING:
    from streamtag.api import Tagger


class StreamPipeline:
    """Owns what belongs to one stream: the session, what is on, and the frames so far."""

    def __init__(
        self,
        stream: Stream,
        tagger: Tagger,
        thresholds: Sequence[float],
        sinks: Sequence[Sink],
        longest: int | None = None,
    ) -> None:
        """longest: the most rows of its timeline (None: a row a frame)."""
        from streamtag.inference.session import Session  # late: torch

        self._stream = stream
        self._sinks = sinks
        self._session = Session(tagger)
        self._detector = EventDetector(tagger.tags, thresholds)
        self._timeline = Timeline(stream.name, tagger.tags, longest)
        for sink in sinks:
            sink.begin(stream)

    @property
    def seconds(self) -> float:
        """Of the stream so far, what was lost of it included."""
        return self._session.seconds

    def feed(self, samples: NDArray[np.float32], since: float | None = None) -> None:
        """samples [n]: mono at 16 kHz, the next of the stream.

        since: when the sound of the newest sample was made, on time.monotonic(), if it is a live stream's.
        """
        frames = self._session.feed(samples)
        if since is not None:
            began = since - self.seconds  # of the stream, by the clock
            frames = [replace(frame, latency_s=time.monotonic() - (began + frame.time)) for frame in frames]
        self._tell(frames)

    def lose(self, samples: int) -> None:
        """Sound of so many samples, more than 0, is missing here: told as a gap, passed over as silence."""
        gap = Gap(self._stream.name, self.seconds, samples / SAMPLE_RATE)
        frames = self._session.insert_gap(samples)
        for sink in self._sinks:
            sink.gap(gap)
        self._tell(frames)

    def forget(self) -> None:
        """The network forgets what it heard; the stream goes on."""
        self._session.reset_context()

    def complain(self, text: str) -> None:
        """Something is wrong with the stream's source: every output is told."""
        for sink in self._sinks:
            sink.error(Error(text, self._stream.name))

    def end(self) -> None:
        """What the session still owes, then the end."""
        self._tell(self._session.flush())
        seconds = self._timeline.seconds = self._session.seconds
        for event in self._detector.close(seconds):
            self._tell_event(Event(self._stream.name, *event))
        for sink in self._sinks:
            sink.end(self._stream, self._timeline)

    def _tell(self, frames: Sequence[TagFrame]) -> None:
        for frame in frames:
            self._timeline.add(frame)
            for sink in self._sinks:
                sink.frame(self._stream, frame)
            for event in self._detector.feed(frame):
                self._tell_event(Event(self._stream.name, *event))

    def _tell_event(self, event: Event) -> None:
        for sink in self._sinks:
            sink.event(event)


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
            time.sleep(min(early, WAIT_S))
        yield samples
