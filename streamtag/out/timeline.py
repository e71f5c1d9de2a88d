"""All frames of one stream, as they come: what summaries and pictures are made from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamtag.live.frame import TagFrame

FIRST_ROWS = 1024


class Timeline:
    """Probabilities over time. 200 bytes a frame for 50 tags: 2.8 MB for an hour.

    name: the stream's; tags: the columns [P]; seconds: how much audio the frames stand for.
    """

    def __init__(self, name: str, tags: tuple[str, ...]) -> None:
        self.name = name
        self.tags = tags
        self.seconds = 0.0
        self._count = 0
        self._probs = np.zeros((FIRST_ROWS, len(tags)), np.float32)
        self._times = np.zeros(FIRST_ROWS, np.float64)

    def add(self, frame: TagFrame) -> None:
        if self._count == len(self._times):
            self._probs = np.concatenate([self._probs, np.zeros_like(self._probs)])
            self._times = np.concatenate([self._times, np.zeros_like(self._times)])
        self._probs[self._count] = frame.probs
        self._times[self._count] = frame.time
        self._count += 1

    def __len__(self) -> int:
        return self._count

    @property
    def probs(self) -> NDArray[np.float32]:
        """[F, P], a view."""
        return self._probs[: self._count]

    @property
    def times(self) -> NDArray[np.float64]:
        """[F] window centres in seconds, a view."""
        return self._times[: self._count]

    @property
    def means(self) -> NDArray[np.float64]:
        """[P] mean of each tag over the frames; zeros where there are none."""
        if not self._count:
            return np.zeros(len(self.tags))
        means: NDArray[np.float64] = self.probs.mean(axis=0, dtype=np.float64)
        return means
