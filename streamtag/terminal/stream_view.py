"""What the views keep of each stream: its bars, their order and their past, and what is present."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.level_meter import Meter, Reading
from streamtag.inference.events import EventDetector
from streamtag.protocol.messages import Event, Frame, Gap, History, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import Sink
from streamtag.terminal.bars import HOLD_S, BarValues, Ranking
from streamtag.terminal.widgets import CourseCells, Smoother


class MeterSink(Sink):
    """A sink that counts a stream's frames and gaps in its meter."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            self.meter.add_frame(message.end, message.latency_s, message.dropped)
        elif isinstance(message, Gap):
            self.meter.add_gap(message.lost_s)


class PresentNow:
    """Which labels of one stream are on. on [P + K]: as events say it.

    Until a concept's first event its threshold decides, since the reader may have come late. The tags of a model with
    concepts have no events: an event detector of their own decides, where any of them is shown.
    """

    def __init__(self, selection: Selection) -> None:
        count = len(selection.tags)
        self.on = np.zeros(len(selection.labels), np.bool_)
        self._is_known = self.on.copy()
        self._thresholds = np.array(selection.thresholds)
        self._concepts = {concept.name: count + n for n, concept in enumerate(selection.concepts)}
        self._tags = {tag: column for column, tag in enumerate(selection.tags)}
        self._detector: EventDetector | None = None
        if selection.concepts and selection.chosen[0] < count:
            self._detector = EventDetector(selection.tags, selection.tag_thresholds)

    def add_frame(self, frame: Frame, probs: NDArray[np.float64]) -> None:
        """Update what is known from the probabilities alone [P + K]."""
        self.on = np.where(self._is_known, self.on, probs >= self._thresholds)
        if self._detector is not None:
            count = len(self._tags)
            self._detector.update(probs[:count].astype(np.float32), (frame.start + frame.end) / 2)
            self.on[:count] = self._detector.on

    def past(self, history: History, probs: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which labels were on [F, P + K] at the times of a history with these probabilities [F, P + K].

        Tags without events are compared with their thresholds.
        """
        on = np.asarray(probs >= self._thresholds)
        times = np.array(history.times)
        for name, column in (self._concepts or self._tags).items():
            on[:, column] = name in history.present
            for event in reversed(history.events):  # from now back: before each change the state was the other one
                if event.tag == name:
                    on[times < event.time, column] = event.state == "off"
        return on

    def add_event(self, event: Event) -> None:
        """Update what the event is about."""
        columns = self._tags if event.concept is None else self._concepts
        column = columns.get(event.tag)
        if column is not None:
            self.on[column], self._is_known[column] = event.state == "on", True

    def set_present(self, names: tuple[str, ...]) -> None:
        """Note that exactly the concepts of these names are on; tags in a model without concepts."""
        for name, column in (self._concepts or self._tags).items():
            self.on[column], self._is_known[column] = name in names, True


class StreamView:
    """What is kept of one stream. updated_at: when its last frame came [s of the clock]."""

    def __init__(self, selection: Selection, hold_s: float = HOLD_S) -> None:
        """hold_s: for how long a label must be stronger than another one before it moves above it."""
        self.updated_at = -math.inf
        self.has_ended = False
        self._selection = selection
        self._smoother = Smoother(len(selection.labels))
        self._ranking = Ranking(selection, hold_s)
        self._present = PresentNow(selection)
        self._course = CourseCells(2 * len(selection.labels))  # probabilities, and whether each was present
        self._latest = np.zeros(len(selection.labels))
        self._metering = MeterSink(Meter())
        self._newest = -1
        self._has_fallen = False

    def add(self, frame: Frame, now: float) -> None:
        """Add a frame. A server may have been asked for a few of the labels: the others are not among the strongest."""
        probs = self._selection.probs(frame)
        if frame.frame < self._newest:  # the stream has begun anew; a reconnection may bring the latest frame again
            self._metering, self._present = MeterSink(Meter()), PresentNow(self._selection)
        is_first = self._newest < 0
        self.updated_at, self.has_ended, self._newest, self._latest = now, False, frame.frame, probs
        self._has_fallen = False
        self._present.add_frame(frame, probs)
        self._smoother.add(probs)
        self._course.add(frame.frame, np.concatenate((probs, self._present.on)))
        self._metering.write(frame)
        if is_first:
            self.settle()

    def add_event(self, event: Event) -> None:
        self._present.add_event(event)

    def add_gap(self, gap: Gap) -> None:
        self._metering.write(gap)

    def add_history(self, history: History) -> None:
        """Show the recent past that a server sends to a late subscriber, in place of what was known."""
        self._present.set_present(history.present)
        hop_s = min(np.diff(history.times), default=0.0) or 1.0
        labels, count = self._selection.labels, len(self._selection.tags)
        columns = [
            (history.tags if column < count else history.concepts).get(label) for column, label in enumerate(labels)
        ]
        past = np.array([[0.0] * len(history.times) if column is None else column for column in columns]).T
        for time, probs, is_on in zip(history.times, past, self._present.past(history, past), strict=True):
            self._course.add(round(time / hop_s), np.concatenate((probs, is_on)))

    @property
    def reading(self) -> Reading:
        """Lengths, latency and losses as the messages report them."""
        return self._metering.meter.reading()

    def settle(self) -> None:
        """Show the latest frame at once, as after another stream was shown."""
        self._smoother = Smoother(len(self._latest))
        self._smoother.add(self._latest)
        self._smoother.advance(1e9)
        self._ranking.sort(self._latest)

    def fall(self) -> None:
        """Let the bars fall, since no frames come: nothing is known to be present."""
        self._has_fallen = True
        self._smoother.add(np.zeros(len(self._latest)))

    def advance(self, elapsed_s: float) -> None:
        """Move bars and their order on by this time of the clock."""
        self._smoother.advance(elapsed_s)
        self._ranking.advance(self._smoother.order, elapsed_s)

    @property
    def values(self) -> BarValues:
        """What the bars show now: copies."""
        cells, count = self._course.cells, len(self._latest)
        history: NDArray[np.float64] = cells[:, :count]
        on = self._present.on & (not self._has_fallen)
        return BarValues(self._smoother.bars.copy(), on, history, cells[:, count:] >= 0.5, self._ranking.groups)
