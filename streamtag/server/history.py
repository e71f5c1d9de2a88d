"""The recent past of the running streams in compact arrays, for subscribers that come late."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from streamtag.protocol.messages import DECIMALS, End, Event, Frame, Gap, Hello, History, Message

KEPT_S = 120.0  # of a stream
MAX_HISTORIES = 4096  # streams; about 160 kB each with 86 tags and concepts
MAX_VALUES = 120_000  # probabilities in one message: at 7 characters each it is shorter than protocol.reader allows
MAX_GREETING_VALUES = 2 * MAX_VALUES  # in the histories of all streams together that one subscriber gets
MAX_EVENTS = 512  # of a stream; also gaps
MIN_HOP_S = 0.01  # of a recording that claims less
UNKNOWN = -1.0  # in place of a probability that a frame lacks, as in a recording of some tags


@dataclass(frozen=True)
class Labels:
    """The names of the probabilities of a frame [L]: tags, then concepts."""

    tags: tuple[str, ...]
    concepts: tuple[str, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return (*self.tags, *self.concepts)

    def values_of(self, frame: Frame) -> NDArray[np.float64]:
        """Return its probabilities [L]. Costs nothing if it has all of them, in this order."""
        if frame.labels == self.names:
            return frame.rounded
        tags = (frame.tags.get(name, UNKNOWN) for name in self.tags)
        return np.array([*tags, *(frame.concepts.get(name, UNKNOWN) for name in self.concepts)])


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
        tags = _named(self.labels.tags, columns)
        concepts = _named(self.labels.concepts, columns[len(self.labels.tags) :])
        return History(self.stream, tuple(self.times.tolist()), tags, concepts, self.present, self.events, self.gaps)


class StreamHistory:
    """The past of one stream: rings of frames, events and gaps."""

    def __init__(self, labels: Labels, max_frames: int) -> None:
        """max_frames: before the latest one."""
        self._labels = labels
        self._newest = -math.inf
        self._count = 0  # frames so far
        self._times = np.empty(max_frames + 1)
        self._values = np.empty((max_frames + 1, len(labels.names)), np.float32)
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
            self._values[place] = self._labels.values_of(frame)
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


class StreamHistories:
    """The past of every running stream, forgotten when it ends. At most MAX_HISTORIES streams have one."""

    def __init__(self, hello: Hello, kept_s: float = KEPT_S, max_streams: int = MAX_HISTORIES) -> None:
        self._labels = Labels(hello.tags, tuple(concept.name for concept in hello.concepts))
        self._max_frames = min(int(kept_s / max(hello.hop_s, MIN_HOP_S)), MAX_VALUES // max(1, len(self._labels.names)))
        self._max_streams = max_streams
        self._streams: dict[str, StreamHistory] = {}

    def add(self, message: Message) -> None:
        """Keep a message of a stream."""
        if isinstance(message, Frame):
            history = self._streams.get(message.stream)
            if history is None:
                if len(self._streams) >= self._max_streams:
                    return
                history = self._streams[message.stream] = StreamHistory(self._labels, self._max_frames)
            history.add_frame(message)
        elif isinstance(message, End):
            self.forget(message.stream)
        elif isinstance(message, Event | Gap) and (history := self._streams.get(message.stream)) is not None:
            if isinstance(message, Event):
                history.add_event(message)
            else:
                history.add_gap(message)

    def forget(self, stream: str) -> None:
        self._streams.pop(stream, None)

    def excerpts(self, streams: Sequence[str], seconds: float) -> dict[str, HistoryExcerpt]:
        """Return the past of those of these streams that have one; the more there are, the shorter each."""
        found = [stream for stream in streams if stream in self._streams]
        share = MAX_GREETING_VALUES // max(1, len(found) * len(self._labels.names))
        limit = min(self._max_frames, share)
        return {stream: self._streams[stream].excerpt(stream, seconds, limit) for stream in found}


def _named(names: Sequence[str], columns: Sequence[tuple[float, ...] | None]) -> dict[str, tuple[float, ...]]:
    """Return the first columns by name, without those that no frame has."""
    return {name: column for name, column in zip(names, columns, strict=False) if column is not None}
