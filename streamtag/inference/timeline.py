"""All frames of one stream, for summaries and plots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamtag.inference.frame import TagFrame

INITIAL_ROWS = 1024
MAX_LIVE_ROWS = 1 << 15  # more than two hours without merging, 11 MB for 50 tags and 36 concepts


@dataclass(frozen=True)
class StreamInfo:
    """What is known of a stream before its first frame. number: its place among `count` inputs, from 0.

    duration_s: None if unknown. start_s: the time at which it begins, other than 0 for an excerpt of a file. source:
    the device, file or address that the sound is from, for people: without a password.
    """

    name: str
    number: int = 0
    count: int = 1
    duration_s: float | None = None
    start_s: float = 0.0
    source: str = ""


class Timeline:
    """Probabilities over time: 344 bytes per row for 50 tags and 36 concepts, 4.8 MB for an hour.

    name: the stream's. labels: the columns [P]: tags, then concepts. start_s: the time at which the stream begins, not
    0 for an excerpt. seconds: length of the stream. peaks, peak_times: [P], each label's highest probability and where
    it occurred [s]. present_s [P]: for how many seconds the event detector had each concept on, known at the end; 0 for
    tags. With `max_rows`, pairs of rows are merged into their mean whenever the limit is reached, so that memory stays
    bounded; means and peaks remain those of all frames.
    """

    def __init__(self, name: str, labels: tuple[str, ...], max_rows: int | None = None, start_s: float = 0.0) -> None:
        """max_rows: an even number (None: no limit)."""
        self.name = name
        self.labels = labels
        self.start_s = start_s
        self.seconds = 0.0
        self.peaks = np.zeros(len(labels), np.float32)
        self.peak_times = np.zeros(len(labels))
        self.present_s = np.zeros(len(labels))
        self._max_rows = max_rows
        self._frames = 0
        self._sums = np.zeros(len(labels), np.float64)
        self._frames_per_row = 1
        self._pending = 0  # frames in the incomplete row
        self._rows = 0  # complete ones
        initial = INITIAL_ROWS if max_rows is None else min(INITIAL_ROWS, max_rows)
        self._probs = np.zeros((initial, len(labels)), np.float32)
        self._times = np.zeros(initial, np.float64)

    def add(self, frame: TagFrame) -> None:
        """Append a frame."""
        probs = np.concatenate((frame.probs, frame.concept_probs))
        if self._rows == len(self._times):
            self._make_room()
        self._probs[self._rows] += (probs - self._probs[self._rows]) / (self._pending + 1)
        self._times[self._rows] += (frame.time - self._times[self._rows]) / (self._pending + 1)
        self._pending += 1
        if self._pending == self._frames_per_row:
            self._rows, self._pending = self._rows + 1, 0
        higher = probs > self.peaks
        self.peaks[higher] = probs[higher]
        self.peak_times[higher] = frame.time
        self._sums += probs
        self._frames += 1

    def _make_room(self) -> None:
        """Double the capacity; at the limit, merge pairs of rows instead."""
        if self._max_rows is None or len(self._times) < self._max_rows:
            size = 2 * len(self._times) if self._max_rows is None else min(2 * len(self._times), self._max_rows)
            probs, times = np.zeros((size, len(self.labels)), np.float32), np.zeros(size)
            probs[: self._rows], times[: self._rows] = self._probs, self._times
        else:
            self._rows //= 2
            probs, times = np.zeros_like(self._probs), np.zeros_like(self._times)
            probs[: self._rows] = (self._probs[::2] + self._probs[1::2]) / 2
            times[: self._rows] = (self._times[::2] + self._times[1::2]) / 2
            self._frames_per_row *= 2
        self._probs, self._times = probs, times

    def __len__(self) -> int:
        """Return the number of frames so far."""
        return self._frames

    @property
    def end_s(self) -> float:
        """Time of the stream's end."""
        return self.start_s + self.seconds

    @property
    def probs(self) -> NDArray[np.float32]:
        """[rows, P], a view; one row per frame unless rows were merged."""
        return self._probs[: self._rows + (self._pending > 0)]

    @property
    def times(self) -> NDArray[np.float64]:
        """[rows] window centres in seconds, a view."""
        return self._times[: self._rows + (self._pending > 0)]

    @property
    def means(self) -> NDArray[np.float64]:
        """[P] mean of each label over the frames; zeros without frames."""
        return self._sums / max(1, self._frames)


def interval_means(values: NDArray[np.floating] | NDArray[np.bool_], count: int) -> NDArray[np.float64]:
    """Return the means of `count` equal intervals of values [F]; fewer where F is smaller."""
    count = min(count, len(values))
    if count == 0:
        return np.zeros(0)
    edges = np.arange(count + 1) * len(values) // count
    sums = np.add.reduceat(values.astype(np.float64), edges[:-1])
    return np.asarray(sums / np.diff(edges))
