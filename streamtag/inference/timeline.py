"""All frames of one stream, as they come: what summaries and pictures are made from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamtag.inference.frame import TagFrame

FIRST_ROWS = 1024
LONGEST_ENDLESS = 1 << 15  # rows: more than two hours of single frames, 6.5 MB for 50 tags


class Timeline:
    """Probabilities over time. 200 bytes a row for 50 tags: 2.8 MB for an hour.

    name: the stream's; tags: the columns [P]; seconds: how much audio the frames stand for. longest: the most rows
    that are kept, an even number (None: no end): beyond it neighbours become one row, their mean, again and again,
    so that an endless stream needs no more memory. Means and peaks stay those of all frames.
    """

    def __init__(self, name: str, tags: tuple[str, ...], longest: int | None = None) -> None:
        self.name = name
        self.tags = tags
        self.seconds = 0.0
        self.peaks = np.zeros(len(tags), np.float32)  # [P]
        self.peak_times = np.zeros(len(tags))  # [P] s
        self._longest = longest
        self._frames = 0
        self._sums = np.zeros(len(tags), np.float64)
        self._merged = 1  # frames a row
        self._pending = 0  # frames in the row that is not complete yet
        self._rows = 0  # complete ones
        first = FIRST_ROWS if longest is None else min(FIRST_ROWS, longest)
        self._probs = np.zeros((first, len(tags)), np.float32)
        self._times = np.zeros(first, np.float64)

    def add(self, frame: TagFrame) -> None:
        if self._rows == len(self._times):
            self._make_room()
        self._probs[self._rows] += (frame.probs - self._probs[self._rows]) / (self._pending + 1)
        self._times[self._rows] += (frame.time - self._times[self._rows]) / (self._pending + 1)
        self._pending += 1
        if self._pending == self._merged:
            self._rows, self._pending = self._rows + 1, 0
        higher = frame.probs > self.peaks
        self.peaks[higher] = frame.probs[higher]
        self.peak_times[higher] = frame.time
        self._sums += frame.probs
        self._frames += 1

    def _make_room(self) -> None:
        """Twice the rows, or, where there are as many as there may be, half of them, each the mean of two."""
        if self._longest is None or len(self._times) < self._longest:
            size = 2 * len(self._times) if self._longest is None else min(2 * len(self._times), self._longest)
            probs, times = np.zeros((size, len(self.tags)), np.float32), np.zeros(size)
            probs[: self._rows], times[: self._rows] = self._probs, self._times
        else:
            self._rows //= 2
            probs, times = np.zeros_like(self._probs), np.zeros_like(self._times)
            probs[: self._rows] = (self._probs[::2] + self._probs[1::2]) / 2
            times[: self._rows] = (self._times[::2] + self._times[1::2]) / 2
            self._merged *= 2
        self._probs, self._times = probs, times

    def __len__(self) -> int:
        """Frames so far."""
        return self._frames

    @property
    def probs(self) -> NDArray[np.float32]:
        """[rows, P], a view; a row is a frame where none had to be merged."""
        return self._probs[: self._rows + (self._pending > 0)]

    @property
    def times(self) -> NDArray[np.float64]:
        """[rows] window centres in seconds, a view."""
        return self._times[: self._rows + (self._pending > 0)]

    @property
    def means(self) -> NDArray[np.float64]:
        """[P] mean of each tag over the frames; zeros where there are none."""
        return self._sums / max(1, self._frames)
