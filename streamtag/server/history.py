"""The recent past of the running streams in compact arrays, for subscribers that come late."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamtag.protocol.messages import DECIMALS, Event, Frame, Gap, Hello, History

KEPT_S = 120.0  # of a stream
MAX_HISTORIES = 4096  # streams that have one; about 160 kB each with 86 tags and concepts
MAX_VALUES = 120_000  # probabilities in one message: at 7 characters each it is shorter than protocol.reader allows
MAX_GREETING_VALUES = 2 * MAX_VALUES  # in the histories of all streams together that one subscriber gets
MAX_EVENTS = 512  # of a stream; also gaps
MIN_HOP_S = 0.01  # of a recording that claims less
UNKNOWN = -1.0  # in place of a probability that a frame lacks, as in a recording of some tags


@dataclass(frozen=True)
class Labels:
    """names: of the probabilities of a frame [L], of which the first `tags` are tags, the others concepts.

    max_frames: of a stream that are kept.
    """

    names: tuple[str, ...]
    tags: int
    max_frames: int

    @classmethod
    def of(cls, hello: Hello) -> Labels:
        names = (*hello.tags, *(concept.name for concept in hello.concepts))
        max_frames = min(int(KEPT_S / max(hello.hop_s, MIN_HOP_S)), MAX_VALUES // max(1, len(names)))
        return cls(names, len(hello.tags), max_frames)

    def share(self, streams: int) -> int:
        """Return how many frames of each of so many streams a subscriber gets: the more there are, the fewer."""
        return min(self.max_frames, MAX_GREETING_VALUES // max(1, streams * len(self.names)))


@dataclass(frozen=True)
class HistoryExcerpt:
    """What one subscriber gets of a stream's past. Taking it is cheap; the message is made when it can be sent.

    times [F]: centres of the windows, s; values [F, L]: probabilities, or UNKNOWN.
    """

    stream: str
    labels: Labels
    times: NDArray[np.float64]
    values: NDArray[np.float32]
    present: tuple[str, ...]
    events: tuple[Event, ...]
    gaps: tuple[Gap, ...]

    def message(self) -> History:
        is_known = (self.values >= 0).any(axis=0) | np.full(len(self.labels.names), not len(self.values))
        rounded = np.clip(self.values, 0, 1).astype(np.float64).round(DECIMALS)
        columns = [
            tuple(column) if known else None
            for column, known in zip(rounded.T.tolist(), is_known.tolist(), strict=True)
        ]
        count = self.labels.tags
        tags, concepts = _named(self.labels.names[:count], columns), _named(self.labels.names[count:], columns[count:])
        return History(self.stream, tuple(self.times.tolist()), tags, concepts, self.present, self.events, self.gaps)


class StreamHistory:
    """The past of one stream: rings of frames, events and gaps."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._newest = -math.inf
        self._count = 0  # frames so far
        self._times = np.empty(labels.max_frames + 1)  # and the latest one
        self._values = np.empty((len(self._times), len(labels.names)), np.float32)
        self._present: dict[str, None] = {}
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._gaps: deque[Gap] = deque(maxlen=MAX_EVENTS)

    def add_frame(self, frame: Frame) -> None:
        time = (frame.start + frame.end) / 2
        if time <= self._newest:  # the stream has begun anew without having ended
            self._count = 0
            for kept in (self._present, self._events, self._gaps):
                kept.clear()
        self._newest, place = time, self._count % len(self._times)
        self._times[place] = time
        with np.errstate(over="ignore"):  # any value may be in a damaged recording
            self._values[place] = frame.values_of(self._labels.names, self._labels.tags, UNKNOWN)
        self._count += 1

    def add_event(self, event: Event) -> None:
        if event.tag not in self._labels.names:
            return
        self._events.append(event)
        if event.state == "on":
            self._present[event.tag] = None
        else:
            self._present.pop(event.tag, None)

    def add_gap(self, gap: Gap) -> None:
        self._gaps.append(gap)

    def excerpt(self, stream: str, seconds: float, limit: int) -> HistoryExcerpt:
        """Return the past from `seconds` before the latest frame up to this. limit: of frames, events and gaps."""
        since, last = self._newest - seconds, self._count - 1  # the latest frame is sent as such
        rows = np.arange(max(0, last - limit), last) % len(self._times)
        rows = rows[self._times[rows] >= since]
        events = [event for event in self._events if event.time >= since]
        gaps = [gap for gap in self._gaps if gap.start + max(0.0, gap.lost_s) >= since]
        return HistoryExcerpt(
            stream,
            self._labels,
            self._times[rows],
            self._values[rows],
            tuple(self._present),
            tuple(events[max(0, len(events) - limit) :]),
            tuple(gaps[max(0, len(gaps) - limit) :]),
        )


def _named(names: Sequence[str], columns: Sequence[tuple[float, ...] | None]) -> dict[str, tuple[float, ...]]:
    """Return the first columns by name, without those that no frame has."""
    return {name: column for name, column in zip(names, columns, strict=False) if column is not None}
