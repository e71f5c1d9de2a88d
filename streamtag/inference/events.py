"""When tags go on and off: hysteresis over smoothed probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Literal, NamedTuple

import numpy as np

from streamtag.errors import SpecError
from streamtag.inference.frame import TagFrame


@dataclass(frozen=True)
class EventSpec:
    """A tag goes on above its threshold, and off below release × threshold; then it rests for hold_s.

    smoothing_s: time constant of the exponential smoothing, s; most of its weight lies in twice that time.
    """

    smoothing_s: float = 0.5
    release: float = 0.7
    hold_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing_s < float("inf"):
            raise SpecError("EventSpec: smoothing_s must be 0 or more seconds")
        if not 0 < self.release <= 1:
            raise SpecError("EventSpec: release must lie between 0 and 1")
        if not 0 <= self.hold_s < float("inf"):
            raise SpecError("EventSpec: hold_s must be 0 or more seconds")


class TagEvent(NamedTuple):
    """time: stream seconds."""

    tag: str
    state: Literal["on", "off"]
    time: float


class EventDetector:
    """Owns what is on. One stream, frames in order of time."""

    def __init__(self, tags: Sequence[str], thresholds: Sequence[float], spec: EventSpec | None = None) -> None:
        """thresholds: one a tag (rare tags never reach 0.5). Raises SpecError if the two do not fit."""
        if len(tags) != len(thresholds):
            raise SpecError(f"{len(tags)} tags and {len(thresholds)} thresholds: one threshold a tag is needed")
        if not all(0 <= threshold <= 1 for threshold in thresholds):
            raise SpecError("thresholds must lie between 0 and 1")
        self._tags = tuple(tags)
        self._spec = spec or EventSpec()
        self._rise = np.array(thresholds, np.float64)
        self._fall = self._rise * self._spec.release
        self._smooth: np.ndarray | None = None
        self._time = 0.0
        self._on = np.zeros(len(tags), bool)
        self._since = np.full(len(tags), -np.inf)

    def feed(self, frame: TagFrame) -> list[TagEvent]:
        """-> what went on or off at the frame's centre."""
        smooth, time = self._smoothed(frame), frame.time
        rested = time - self._since >= self._spec.hold_s
        turned = rested & np.where(self._on, smooth < self._fall, smooth > self._rise)
        self._on ^= turned
        self._since[turned] = time
        return [self._event(i, time) for i in np.flatnonzero(turned).tolist()]

    def close(self, time_s: float) -> list[TagEvent]:
        """The stream ends at time_s -> "off" for all that is on. The next frame begins a new stream."""
        open_tags = np.flatnonzero(self._on).tolist()
        self._on[:] = False
        self._since[:] = -np.inf
        self._smooth = None
        return [self._event(i, time_s) for i in open_tags]

    def _smoothed(self, frame: TagFrame) -> np.ndarray:
        """Exponential in time, not in frames, so that a gap in the stream counts as long as it was."""
        if self._smooth is None or not self._spec.smoothing_s:
            self._smooth = frame.probs.astype(np.float64)
        else:
            keep = exp(-max(0.0, frame.time - self._time) / self._spec.smoothing_s)
            self._smooth = keep * self._smooth + (1 - keep) * frame.probs
        self._time = frame.time
        return self._smooth

    def _event(self, index: int, time: float) -> TagEvent:
        return TagEvent(self._tags[index], "on" if self._on[index] else "off", time)
