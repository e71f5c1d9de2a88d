"""Whether probabilities mean what they say: of all that got 0.3, three in ten should be given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.manifest import Array

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """error: the expected calibration error, the mean over all clips and tags of how far the mean probability
    of their bin lies from the bin's share of given tags. said, given [B], count [B]: the reliability curve, bins
    without predictions left out. by_tag [C]: the error of each tag alone."""

    error: float
    said: NDArray[np.float64]
    given: NDArray[np.float64]
    count: NDArray[np.int64]
    by_tag: NDArray[np.float64]


def calibration(predicted: Array, given: NDArray[np.bool_], bins: int = BINS) -> Calibration:
    """Of probabilities [n, C] against what is given [n, C], in bins of equal width."""
    said, share, count = _curve(predicted.ravel(), given.ravel(), bins)
    tags = (_curve(predicted[:, tag], given[:, tag], bins) for tag in range(predicted.shape[1]))
    return Calibration(_error(said, share, count), said, share, count, np.array([_error(*tag) for tag in tags]))


def _curve(
    predicted: Array, given: NDArray[np.bool_], bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    place = np.clip((predicted * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    used = count > 0
    sums = [np.bincount(place, values, bins)[used] / count[used] for values in (predicted, given.astype(np.float64))]
    return sums[0], sums[1], count[used]


def _error(said: NDArray[np.float64], given: NDArray[np.float64], count: NDArray[np.int64]) -> float:
    return float((np.abs(said - given) * count).sum() / count.sum())
