"""Events: when a concept or a tag turns on or off, by hysteresis over smoothed probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from threading import Lock
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import SpecError
from streamtag.inference.frame import TagFrame
from streamtag.spec import ConceptSpec
from streamtag.spec.base import Spec

Floats = NDArray[np.float64]
MAX_FRAMES = 1 << 50  # in an imported state


@dataclass(frozen=True)
class EventSpec(Spec):
    """Settings of the hysteresis.

    A concept turns on above its threshold and off below `release` times its threshold, and keeps each state for at
    least `hold_s` seconds. smoothing_s: time constant of the exponential smoothing that precedes it, in seconds.
    """

    smoothing_s: float = 0.5
    release: float = 0.7
    hold_s: float = 1.0

    def __post_init__(self) -> None:
        self._check_seconds("smoothing_s", "hold_s")
        self._check(0 < self.release <= 1, "release must lie between 0 and 1")


class TagEvent(NamedTuple):
    """A concept or a tag that turned on or off. tag: its name; time: stream seconds."""

    tag: str
    state: Literal["on", "off"]
    time: float


@dataclass(frozen=True)
class EventDetectorState:
    """One row of an EventDetectorBank of P tags and K concepts.

    smooth [K]: smoothed probabilities; since [K]: time of each concept's last event in seconds, -inf before the first;
    on [K]; present [K]: seconds for which each was on until its last event; sums [P + K]: of the probabilities of all
    frames; time: of the last frame in seconds; frames: how many.
    """

    smooth: Floats
    since: Floats
    on: NDArray[np.bool_]
    present: Floats
    sums: Floats
    time: float
    frames: int

    @classmethod
    def initial(cls, tags: int, concepts: int) -> EventDetectorState:
        """Return the state before the first frame."""
        zeros, never = np.zeros(concepts), np.full(concepts, -np.inf)
        sums = np.zeros(tags + concepts)
        return cls(smooth=zeros, since=never, on=zeros > 0, present=zeros, sums=sums, time=0.0, frames=0)

    def check(self, tags: int, concepts: int) -> None:
        """Raise SpecError if this cannot be the state of a detector of so many tags and concepts."""
        floats = (self.smooth, self.since, self.present, self.sums)
        shapes = all(array.shape == (concepts,) for array in (self.smooth, self.since, self.on, self.present))
        shapes &= self.sums.shape == (tags + concepts,)
        if not shapes or any(array.dtype != np.float64 for array in floats) or self.on.dtype != np.bool_:
            raise SpecError("a stream's state is damaged: its events are of another shape")
        finite = np.isfinite(self.smooth).all() and np.isfinite(self.sums).all() and isfinite(self.time)
        times = np.isfinite(self.since) | np.isneginf(self.since)
        if not finite or not times.all() or not 0 <= self.frames <= MAX_FRAMES or (self.smooth < 0).any():
            raise SpecError("a stream's state is damaged: its events")
        if not ((self.present >= 0) & (self.present <= max(0.0, self.time) + 1)).all():  # 1 s: sums are rounded
            raise SpecError("a stream's state is damaged: its lengths")
        if (self.smooth > 1).any() or (self.sums < 0).any() or (self.sums > self.frames + 1).any():
            raise SpecError("a stream's state is damaged: its means")


class EventDetectorBank:
    """Event detectors of concepts, and mean probabilities of tags and concepts, of many streams.

    Each stream has one row; rows are updated together. Several threads may use it at once, but no two of them the same
    row.
    """

    def __init__(
        self,
        tags: Sequence[str],
        concepts: Sequence[str],
        thresholds: Sequence[float | None],
        rows: int,
        spec: EventSpec | None = None,
    ) -> None:
        """concepts: names [K]. thresholds [K]: None for a concept that never turns on; rare ones never reach 0.5.

        Raises SpecError if the thresholds do not fit the concepts.
        """
        if len(concepts) != len(thresholds):
            raise SpecError(f"{len(concepts)} concepts and {len(thresholds)} thresholds: one threshold each is needed")
        if not all(threshold is None or 0 <= threshold <= 1 for threshold in thresholds):
            raise SpecError("thresholds must lie between 0 and 1")
        self.tags, self.concepts = tuple(tags), tuple(concepts)
        self._spec = spec or EventSpec()
        self._on_above = np.array([inf if threshold is None else threshold for threshold in thresholds])
        self._off_below = self._on_above * self._spec.release
        self._smooth = np.zeros((rows, len(self.concepts)))
        self._since = np.zeros(self._smooth.shape)  # takes memory only as rows are used
        self._present = np.zeros(self._smooth.shape)
        self._sums = np.zeros((rows, len(self.tags) + len(self.concepts)))
        self._on = np.zeros(self._smooth.shape, np.bool_)
        self._times = np.zeros(rows)
        self._frames = np.zeros(rows, np.int64)
        self._lock = Lock()  # guards _free
        self._free = list(range(rows))[::-1]

    @classmethod
    def of(
        cls,
        tags: Sequence[str],
        concepts: Sequence[ConceptSpec],
        rows: int,
        thresholds: Sequence[float | None] | None = None,
    ) -> Self:
        """Return a bank of a model's tags and concepts. thresholds: of the concepts, instead of the model's."""
        levels = [concept.threshold for concept in concepts] if thresholds is None else thresholds
        return cls(tags, [concept.name for concept in concepts], levels, rows)

    def add(self, state: EventDetectorState | None = None) -> int:
        """Return a free row, set to the given state or to that of a new stream.

        Raises SpecError if the state is damaged, IndexError if all rows are in use.
        """
        if state is None:
            state = EventDetectorState.initial(len(self.tags), len(self.concepts))
        else:
            state.check(len(self.tags), len(self.concepts))
        with self._lock:
            row = self._free.pop()
        self._smooth[row], self._since[row], self._on[row] = state.smooth, state.since, state.on
        self._present[row], self._sums[row] = state.present, state.sums
        self._times[row], self._frames[row] = state.time, state.frames
        return row

    def remove(self, row: int) -> None:
        """Free the row."""
        with self._lock:
            self._free.append(row)

    def feed(
        self, rows: NDArray[np.int64], probs: NDArray[np.float32], concept_probs: NDArray[np.float32], times: Floats
    ) -> list[list[TagEvent]]:
        """Update M different rows with one frame each and return each row's events.

        rows [M]; probs [M, P]; concept_probs [M, K]; times [M]: the frames' centres in seconds. The smoothing is
        exponential in time, not in frames, so that a gap has its true length.
        """
        # of one stream, a view: copies take most of the time
        at = slice(int(rows[0]), int(rows[0]) + 1) if len(rows) == 1 else rows
        keep = np.zeros((len(times), 1))
        if self._spec.smoothing_s:
            keep[:, 0] = np.exp(-np.maximum(0.0, times - self._times[at]) / self._spec.smoothing_s)
            keep[self._frames[at] == 0] = 0
        smooth = keep * self._smooth[at] + (1 - keep) * concept_probs
        on, since = self._on[at], self._since[at]
        changed = np.where(on, smooth < self._off_below, smooth > self._on_above)
        self._smooth[at], self._times[at] = smooth, times
        self._sums[at] += np.concatenate((probs, concept_probs), axis=1)
        self._frames[at] += 1
        if not changed.any():
            return [[] for _ in rows]
        lasted = times[:, None] - since
        changed &= lasted >= self._spec.hold_s
        self._present[at] += np.where(changed & on, lasted, 0.0)
        on = on ^ changed
        self._on[at], self._since[at] = on, np.where(changed, times[:, None], since)
        events: list[list[TagEvent]] = [[] for _ in rows]
        for n, column in zip(*(axis.tolist() for axis in np.nonzero(changed)), strict=True):
            state: Literal["on", "off"] = "on" if on[n, column] else "off"
            events[n].append(TagEvent(self.concepts[column], state, float(times[n])))
        return events

    def feed_frames(self, rows: Sequence[int], frames: Sequence[TagFrame]) -> list[list[TagEvent]]:
        """Update M different rows, M >= 0, with one frame each and return each row's events."""
        if not frames:
            return []
        probs, concept_probs = np.stack([f.probs for f in frames]), np.stack([f.concept_probs for f in frames])
        return self.feed(np.array(rows), probs, concept_probs, np.array([frame.time for frame in frames]))

    def close(self, row: int, time_s: float) -> list[TagEvent]:
        """Return an "off" event at time_s, the stream's end, for each concept that is on."""
        return [TagEvent(self.concepts[column], "off", time_s) for column in np.flatnonzero(self._on[row]).tolist()]

    def present_s(self, row: int, time_s: float) -> Floats:
        """Return for how many seconds each concept was on until time_s, which follows the last frame [K]."""
        current = np.where(self._on[row], np.maximum(0.0, time_s - self._since[row]), 0.0)
        return np.asarray(self._present[row] + current)

    def on(self, row: int) -> NDArray[np.bool_]:
        """Return whether each concept is on now [K]."""
        return np.array(self._on[row])

    def frames(self, row: int) -> int:
        """Return the number of frames so far."""
        return int(self._frames[row])

    def summaries(self, row: int) -> tuple[dict[str, float], dict[str, float]]:
        """Return the mean probability of each tag and of each concept over the frames; empty before the first frame."""
        frames, count = self.frames(row), len(self.tags)
        if not frames:
            return {}, {}
        means = (self._sums[row] / frames).tolist()
        return dict(zip(self.tags, means[:count], strict=True)), dict(zip(self.concepts, means[count:], strict=True))

    def export_state(self, row: int) -> EventDetectorState:
        """Return a copy of the row's state."""
        return EventDetectorState(
            smooth=self._smooth[row].copy(),
            since=self._since[row].copy(),
            on=self._on[row].copy(),
            present=self._present[row].copy(),
            sums=self._sums[row].copy(),
            time=float(self._times[row]),
            frames=self.frames(row),
        )


class EventDetector:
    """The event detector of one stream: an EventDetectorBank with one row. Frames are fed in order of time.

    detector = EventDetector(tagger.tags, tagger.thresholds)
    events = detector.feed(frame)                                               # of the tags

    names = [concept.name for concept in tagger.concepts]
    detector = EventDetector(names, [concept.threshold for concept in tagger.concepts])
    events = detector.update(frame.concept_probs, frame.time)                   # of the concepts
    """

    def __init__(self, names: Sequence[str], thresholds: Sequence[float | None], spec: EventSpec | None = None) -> None:
        """names [C]: of tags or of concepts. thresholds [C]: None for one that never turns on.

        Raises SpecError if they do not fit each other.
        """
        self._bank = EventDetectorBank((), names, thresholds, 1, spec)
        self._row = self._bank.add()
        self._no_tags = np.zeros((1, 0), np.float32)

    def feed(self, frame: TagFrame) -> list[TagEvent]:
        """Return the tags that turned on or off at the frame's centre."""
        return self.update(frame.probs, frame.time)

    def update(self, probs: NDArray[np.float32], time_s: float) -> list[TagEvent]:
        """Return what turned on or off with the next probabilities [C], which are those at time_s."""
        row, time = np.array([self._row]), np.array([time_s])
        (events,) = self._bank.feed(row, self._no_tags, probs[np.newaxis], time)
        return events

    def present_s(self, time_s: float) -> Floats:
        """Return for how many seconds each was on until time_s, which follows the last frame [C]."""
        return self._bank.present_s(self._row, time_s)

    @property
    def on(self) -> NDArray[np.bool_]:
        """Whether each is on now [C]."""
        return self._bank.on(self._row)

    def close(self, time_s: float) -> list[TagEvent]:
        """End the stream at time_s and return an "off" event for whatever is on. The next frame starts anew."""
        events = self._bank.close(self._row, time_s)
        self._bank.remove(self._row)
        self._row = self._bank.add()
        return events
