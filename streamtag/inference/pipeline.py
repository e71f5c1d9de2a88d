"""One stream from samples to protocol messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamtag.inference.events import EventDetector, TagEvent
from streamtag.inference.frame import TagFrame
from streamtag.inference.presence import positive
from streamtag.inference.timeline import Timeline
from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Message

if TYPE_CHECKING:
    from streamtag.inference.session import Session


class StreamPipeline:
    """Owns the session, the event detector and the timeline of one stream, and publishes its messages in order."""

    def __init__(
        self,
        name: str,
        session: Session,
        publish: Callable[[Message], None],
        thresholds: Sequence[float | None] | None = None,
        max_rows: int | None = None,
    ) -> None:
        """thresholds: of the concepts, instead of the model's. max_rows: of the timeline (None: one row per frame,
        without limit)."""
        concepts = tuple(concept.name for concept in session.concepts)
        levels = [concept.threshold for concept in session.concepts] if thresholds is None else thresholds
        self.timeline = Timeline(name, (*session.tags, *concepts), max_rows, session.start_s)
        self._name, self._tags, self._concepts = name, session.tags, concepts
        self._session = session
        self._detector = EventDetector(concepts, levels)
        self._publish = publish

    @property
    def seconds(self) -> float:
        """Length of the stream so far, gaps included."""
        return self._session.seconds

    def feed(self, samples: NDArray[np.float32], captured_at: float | None = None) -> None:
        """Process the next samples [n], mono at the model's sample rate.

        captured_at: when the newest sample of a live stream sounded, on time.monotonic(); frames then have a latency.
        """
        frames = self._session.feed(samples)
        if captured_at is not None:
            began = captured_at - self.seconds
            frames = [replace(frame, latency_s=time.monotonic() - (began + frame.time)) for frame in frames]
        self._publish_frames(frames)

    def insert_gap(self, samples: int) -> None:
        """Publish that this many samples, more than 0, are missing here, and continue as after silence."""
        start = self.seconds
        frames = self._session.insert_gap(samples)
        self._publish(Gap(self._name, start, self.seconds - start))
        self._publish_frames(frames)

    def reset_context(self) -> None:
        """Reset the network's state; the stream goes on."""
        self._session.reset_context()

    def report_error(self, text: str) -> None:
        """Publish a problem of the stream's source."""
        self._publish(Error(text, self._name))

    def end(self) -> None:
        """Publish the remaining frames, "off" for all concepts that are on, and the end."""
        self._publish_frames(self._session.flush())
        timeline, seconds = self.timeline, self._session.seconds
        timeline.seconds = seconds
        present_s = self._detector.present_s(timeline.end_s)
        timeline.present_s[len(self._tags) :] = present_s
        self._publish_events(self._detector.close(timeline.end_s))
        tags: dict[str, float] = {}
        concepts: dict[str, float] = {}
        if len(timeline):
            means, count = timeline.means.tolist(), len(self._tags)
            tags = dict(zip(self._tags, means[:count], strict=True))
            concepts = dict(zip(self._concepts, means[count:], strict=True))
        self._publish(End(self._name, seconds, len(timeline), tags, concepts, positive(self._concepts, present_s)))

    def _publish_frames(self, frames: Sequence[TagFrame]) -> None:
        for frame in frames:
            self.timeline.add(frame)
            tags = dict(zip(self._tags, frame.probs.tolist(), strict=True))
            concepts = dict(zip(self._concepts, frame.concept_probs.tolist(), strict=True))
            number, start, end, latency_s = frame.index, frame.start, frame.end, frame.latency_s
            self._publish(Frame(self._name, number, start, end, tags, latency_s, concepts=concepts))
            self._publish_events(self._detector.update(frame.concept_probs, frame.time))

    def _publish_events(self, events: Sequence[TagEvent]) -> None:
        for event in events:
            self._publish(Event(self._name, *event, concept=event.tag))
