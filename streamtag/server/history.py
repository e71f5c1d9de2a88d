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
MAX_HISTORIES = 4096  # streams; about 100 kB each with 86 tags and concepts
MAX_VALUES = 120_000  # probabilities in one message: at 7 characters each it is shorter than protocol.reader allows
MAX_GREETING_VALUES = 2 * MAX_VALUES  # in the histories of all streams together that one subscriber gets
MAX_EVENTS = 512  # of a stream; also gaps
BLOCK_FRAMES = 32  # compressed at once
MIN_HOP_S = 0.01  # of a recording that claims less
SCALE = 10**DECIMALS
UNKNOWN = -1.0  # in place of a probability that a frame lacks, as in a recording of some tags


@dataclass(frozen=True)
class Block:
    """Frames: the centres of their windows [F] s, and their probabilities [F, L] times SCALE; UNKNOWN is below 0."""

    times: NDArray[np.float64]
    values: NDArray[np.int16]

    @classmethod
    def of(cls, times: NDArray[np.float64], probs: NDArray[np.float64]) -> Block:
        """Return a compact copy. A probability may have any value, as in a damaged recording."""
        return cls(times.copy(), np.clip(np.rint(probs * SCALE), UNKNOWN, SCALE).astype(np.int16))


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

    since: s of the stream. limit: at most so many frames, events and gaps, the latest ones.
    """

    stream: str
    labels: Labels
    blocks: Sequence[Block]
    present: tuple[str, ...]
    events: Sequence[Event]
    gaps: Sequence[Gap]
    since: float
    limit: int

    def message(self) -> History:
        times = np.concatenate([block.times for block in self.blocks])[:-1]  # the latest frame is sent as such
        first = max(int(np.searchsorted(times, self.since)), len(times) - self.limit)
        values = np.concatenate([block.values for block in self.blocks])[first:-1]
        is_known = (values >= 0).any(axis=0) | np.full(len(self.labels.names), not len(values))
        columns = [
            tuple(column) if known else None
            for column, known in zip((np.maximum(values, 0) / SCALE).T.tolist(), is_known.tolist(), strict=True)
        ]
        events = [event for event in self.events if event.time >= self.since]
        gaps = [gap for gap in self.gaps if gap.start + max(0.0, gap.lost_s) >= self.since]
        return History(
            self.stream,
            tuple(times[first:].tolist()),
            _named(self.labels.tags, columns),
            _named(self.labels.concepts, columns[len(self.labels.tags) :]),
            self.present,
            tuple(events[max(0, len(events) - self.limit) :]),
            tuple(gaps[max(0, len(gaps) - self.limit) :]),
        )


class StreamHistory:
    """The past of one stream. The last frames are compressed together, which costs less than each by itself."""

    def __init__(self, labels: Labels, max_frames: int) -> None:
        self._labels = labels
        self._newest = -math.inf
        self._count = 0  # frames in the following two
        self._times = np.empty(BLOCK_FRAMES)
        self._probs = np.empty((BLOCK_FRAMES, len(labels.names)))
        self._blocks: deque[Block] = deque(maxlen=1 + max_frames // BLOCK_FRAMES)
        self._present: dict[str, None] = {}
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._gaps: deque[Gap] = deque(maxlen=MAX_EVENTS)

    def add_frame(self, frame: Frame) -> None:
        time = (frame.start + frame.end) / 2
        if time <= self._newest:  # the stream has begun anew without having ended
            self._count = 0
            for kept in (self._blocks, self._present, self._events, self._gaps):
                kept.clear()
        self._newest, place = time, self._count
        self._times[place], self._probs[place] = time, self._labels.values_of(frame)
        self._count = place + 1
        if self._count == BLOCK_FRAMES:
            self._blocks.append(Block.of(self._times, self._probs))
            self._count = 0

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
        recent = Block.of(self._times[: self._count], self._probs[: self._count])
        return HistoryExcerpt(
            stream,
            self._labels,
            (*self._blocks, recent),
            tuple(self._present),
            tuple(self._events),
            tuple(self._gaps),
            self._newest - seconds,
            limit,
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
