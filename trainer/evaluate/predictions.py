"""The frame-by-frame predictions of a system, and scores of clips from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trainer.data.manifest import Array

EARLY_S = 3.0  # of audio, after which a clip is scored beside the whole of it


@dataclass(frozen=True)
class Predictions:
    """Probabilities of n clips at the same points in time.

    `frames` [n, F, C] are the probabilities at each point, NaN after a clip's end; `means` [n, F, C] the running means
    of all frames so far. `input_s` [F] is the audio needed for a point, including the look-ahead, in seconds from the
    start of the clip. A system that reads whole clips has one point.
    """

    frames: Array
    means: Array
    input_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def count(self) -> NDArray[np.int64]:
        """Return the number of points [n] of each clip."""
        return np.asarray(np.isfinite(self.frames[:, :, 0]).sum(axis=1))

    def select(self, clips: NDArray[np.int64]) -> Predictions:
        """Return those of some of the clips."""
        return replace(self, frames=self.frames[clips], means=self.means[clips])

    def last(self) -> Array:
        """Return the last probabilities [n, C]."""
        return self._at(self.frames, len(self.input_s))

    def mean(self) -> Array:
        """Return the mean [n, C] over all frames."""
        return self._at(self.means, len(self.input_s))

    def after(self, seconds: float) -> tuple[Array, Array] | None:
        """Return the mean so far and the last frame [n, C] after that much audio, or None before the first frame."""
        points = int(np.searchsorted(self.input_s, seconds + 1e-9, side="right"))
        return (self._at(self.means, points), self._at(self.frames, points)) if points else None

    def _at(self, values: Array, points: int) -> Array:
        return np.asarray(values[np.arange(len(values)), np.minimum(points, self.count) - 1])


def frames_after(seconds: float, hop_s: float, lookahead_s: float) -> int:
    """Return the number of frames that exist after so much audio."""
    return max(0, int((seconds + 1e-9 - lookahead_s) / hop_s) + 1)


def collect(clips: Sequence[Array], hop_s: float, lookahead_s: float, every_s: float) -> Predictions:
    """Collect the frames of clips [F, C], one per `hop_s`, keeping about one per `every_s`.

    The last point is the end of the clip, whatever its time.
    """
    step = max(1, round(every_s / hop_s))
    longest = max(len(clip) for clip in clips)
    ends = np.arange(step, longest + step, step)
    shape = (len(clips), len(ends), clips[0].shape[1])
    frames, means = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    for row, clip in enumerate(clips):
        kept = np.minimum(ends[: -(-len(clip) // step)], len(clip)) - 1
        frames[row, : len(kept)] = clip[kept]
        sums = np.cumsum(clip, axis=0, dtype=np.float64)
        means[row, : len(kept)] = sums[kept] / (kept[:, None] + 1)
    return Predictions(frames, means, (np.minimum(ends, longest) - 1) * hop_s + lookahead_s)
