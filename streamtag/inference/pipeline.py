"""One stream from samples to protocol messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamtag.inference.events import EventDetectorBank, TagEvent
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
        self._bank = EventDetectorBank.of(session.tags, session.concepts, 1, thresholds)
        self._row = self._bank.add()
        self.timeline = Timeline(name, (*self._bank.tags, *self._bank.concepts), max_rows, session.start_s)
        self._name, self._session, self._publish = name, session, publish

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
        timeline = self.timeline
        timeline.seconds = self.seconds
        timeline.present_s[len(self._bank.tags) :] = self._bank.present_s(self._row, timeline.end_s)
        for message in end_messages(self._name, self._bank, self._row, self.seconds, timeline.end_s):
            self._publish(message)

    def _publish_frames(self, frames: Sequence[TagFrame]) -> None:
        for frame in frames:
            self.timeline.add(frame)
            (events,) = self._bank.feed_frames([self._row], [frame])
            for message in frame_messages(self._name, frame, events, self._bank, frame.latency_s):
                self._publish(message)


def frame_messages(
    stream: str, frame: TagFrame, events: Sequence[TagEvent], bank: EventDetectorBank, latency_s: float | None
) -> list[Message]:
    """Return a frame as a message, and after it the events that the bank found in it."""
    tags = dict(zip(bank.tags, frame.probs.tolist(), strict=True))
    concepts = dict(zip(bank.concepts, frame.concept_probs.tolist(), strict=True))
    message = Frame(stream, frame.index, frame.start, frame.end, tags, latency_s, concepts=concepts)
    return [message, *_event_messages(stream, events)]


def end_messages(stream: str, bank: EventDetectorBank, row: int, seconds: float, end_s: float) -> list[Message]:
    """Return "off" for all concepts that are on, and the end of a stream of so many seconds. end_s: its time."""
    present_s = positive(bank.concepts, bank.present_s(row, end_s))
    end = End(stream, seconds, bank.frames(row), *bank.summaries(row), present_s)
    return [*_event_messages(stream, bank.close(row, end_s)), end]


def _event_messages(stream: str, events: Sequence[TagEvent]) -> list[Event]:
    return [Event(stream, *event, concept=event.tag) for event in events]
