"""Calibration: of all clips with a probability of 0.3, three in ten should have the tag.

Where targets are soft, the targets of these clips should have a mean of 0.3: a threshold on them would make a perfect
prediction look wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.manifest import Array

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """The expected calibration error and the reliability curve.

    `error` is the mean over all clips and tags of the difference between the mean probability of their bin and the
    bin's mean target. `predicted`, `positive` (the mean targets) and `count` [B] are the curve, without empty bins.
    `by_tag` [C] is the error of each tag alone.
    """

    error: float
    predicted: NDArray[np.float64]
    positive: NDArray[np.float64]
    count: NDArray[np.int64]
    by_tag: NDArray[np.float64]


def calibration(predicted: Array, targets: Array | NDArray[np.bool_], bins: int = BINS) -> Calibration:
    """Compare probabilities [n, C] with targets [n, C], in bins of equal width."""
    mean, share, count = _curve(predicted.ravel(), targets.ravel(), bins)
    tags = (_curve(predicted[:, tag], targets[:, tag], bins) for tag in range(predicted.shape[1]))
    return Calibration(_error(mean, share, count), mean, share, count, np.array([_error(*tag) for tag in tags]))


def _curve(
    predicted: Array, targets: Array | NDArray[np.bool_], bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    index = np.clip((predicted * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    used = count > 0
    sums = [np.bincount(index, values, bins)[used] / count[used] for values in (predicted, targets.astype(np.float64))]
    return sums[0], sums[1], count[used]


def _error(mean: NDArray[np.float64], share: NDArray[np.float64], count: NDArray[np.int64]) -> float:
    return float((np.abs(mean - share) * count).sum() / count.sum())
