"""What the live view keeps of each stream."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.level_meter import Meter, Reading
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import Event, Frame, Gap, History, Message
from streamtag.protocol.selection import Selection
from streamtag.terminal.bars import BarValues
from streamtag.terminal.present_now import PresentNow
from streamtag.terminal.ranking import HOLD_S, Groups, Ranking
from streamtag.terminal.widgets import CourseCells, Smoother


class MeterSink:
    """A sink that counts a stream's frames and gaps in its meter."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:
        pass

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            self.meter.add_frame(message.end, message.latency_s, message.dropped)
        elif isinstance(message, Gap):
            self.meter.add_gap(message.lost_s)

    def close(self) -> None:
        pass


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
    def groups(self) -> Groups:
        """The columns of each category, in the order of display."""
        return self._ranking.groups

    @property
    def values(self) -> BarValues:
        """What the bars show now: copies."""
        cells, count = self._course.cells, len(self._latest)
        history: NDArray[np.float64] = cells[:, :count]
        on = self._present.on & (not self._has_fallen)
        return BarValues(self._smoother.bars.copy(), on, history, cells[:, count:] >= 0.5)
