"""What a system said about each clip, frame by frame, and what that comes to for the clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.manifest import Array


@dataclass(frozen=True)
class Predictions:
    """Probabilities of n clips at the same places in time.

    frames [n, F, C]: what was said at each place, NaN after a clip's end. means [n, F, C]: the mean of
    everything said up to there. heard_s [F]: the sound that the place needs, look-ahead included, in seconds
    from the clip's beginning. A system that hears whole clips has one place.
    """

    frames: Array
    means: Array
    heard_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def count(self) -> NDArray[np.int64]:
        """[n]: the places of each clip."""
        return np.asarray(np.isfinite(self.frames[:, :, 0]).sum(axis=1))

    def last(self) -> Array:
        """[n, C]: what was said at the end."""
        return self._at(self.frames, len(self.heard_s))

    def mean(self) -> Array:
        """[n, C]: the mean over everything said."""
        return self._at(self.means, len(self.heard_s))

    def after(self, seconds: float) -> tuple[Array, Array] | None:
        """(mean so far [n, C], last said [n, C]) when that much has been heard; None if nothing was said yet."""
        places = int(np.searchsorted(self.heard_s, seconds + 1e-9, side="right"))
        return (self._at(self.means, places), self._at(self.frames, places)) if places else None

    def _at(self, values: Array, places: int) -> Array:
        return np.asarray(values[np.arange(len(values)), np.minimum(places, self.count) - 1])


def collect(clips: Sequence[Array], hop_s: float, lookahead_s: float, every_s: float) -> Predictions:
    """From what was said about each clip [F, C], one frame every `hop_s`, kept about every `every_s` seconds.

    The last place stands for the end of the clip, whatever it fell on.
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
