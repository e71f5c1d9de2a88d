"""Scores of predictions [n, C] against targets [n, C], per tag; tags that cannot be scored are left out and counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from trainer.data.manifest import Array

POSITIVE = 0.3  # the soft target from which on a clip counts as having the tag
MIN_CLIPS = 5  # positives and negatives that a tag needs to be scored, where targets are soft ...
MIN_CLIPS_HARD = 1  # ... and where they are 0 or 1


@dataclass(frozen=True)
class Scores:
    """Macro means over the scored tags, NaN if there are none, and values by tag [C], NaN where not scored."""

    roc_auc: float
    pr_auc: float
    roc_auc_by_tag: NDArray[np.float64]
    pr_auc_by_tag: NDArray[np.float64]
    scored: int
    clips: int


def score(predicted: Array, targets: Array, min_clips: int = MIN_CLIPS) -> Scores:
    """Return ROC-AUC and PR-AUC of predictions against targets >= 0.3."""
    positive = targets >= POSITIVE
    tags = targets.shape[1]
    roc, pr = np.full(tags, np.nan), np.full(tags, np.nan)
    chosen = scorable(targets, min_clips)
    roc[chosen] = _roc_auc(predicted[:, chosen], positive[:, chosen])
    for tag in np.flatnonzero(chosen):
        pr[tag] = _average_precision(predicted[:, tag], positive[:, tag])
    return Scores(_mean(roc), _mean(pr), roc, pr, int(np.isfinite(roc).sum()), len(targets))


def macro_roc_auc(predicted: Array, targets: Array, min_clips: int = MIN_CLIPS) -> float:
    """Return only the mean ROC-AUC, from the ranks of all tags at once; much faster than `score`."""
    chosen = scorable(targets, min_clips)
    return _mean(_roc_auc(predicted[:, chosen], targets[:, chosen] >= POSITIVE))


def _roc_auc(predicted: Array, positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the share of pairs of a positive and a negative [C] that are in order, half of the equal ones counted."""
    positives = positive.sum(axis=0)
    ranks = np.where(positive, rankdata(predicted, axis=0), 0.0).sum(axis=0)
    pairs = positives * (len(positive) - positives)
    return np.asarray((ranks - positives * (positives + 1) / 2) / pairs)


def _average_precision(predicted: Array, positive: NDArray[np.bool_]) -> float:
    """Return the sum over all thresholds of the precision there times the recall gained [n], equal values together."""
    order = np.argsort(-predicted, kind="stable")
    values, found = predicted[order], positive[order].cumsum()
    ends = np.flatnonzero(np.append(np.diff(values) != 0, True))
    gained = np.diff(found[ends], prepend=0) / found[-1]
    return float(gained @ (found[ends] / (ends + 1)))


def scorable(targets: Array, min_clips: int = MIN_CLIPS) -> NDArray[np.bool_]:
    """Return a mask [C] of the tags with enough positives and negatives."""
    positives = (targets >= POSITIVE).sum(axis=0)
    return np.asarray((positives >= min_clips) & (len(targets) - positives >= min_clips))


def min_clips_of(targets: Array) -> int:
    """Return how many positives and negatives a tag needs: one where targets are hard."""
    return MIN_CLIPS_HARD if bool(np.isin(targets, (0.0, 1.0)).all()) else MIN_CLIPS


def unscored(targets: Array, min_clips: int) -> dict[int, str]:
    """Return the reason for each tag that is missing from the means."""
    positives = (targets >= POSITIVE).sum(axis=0)
    return {
        int(
            tag
        ): f"{positives[tag]} positives and {len(targets) - positives[tag]} negatives, {min_clips} needed of each"
        for tag in np.flatnonzero(~scorable(targets, min_clips))
    }


def thresholds(predicted: Array, targets: Array) -> Array:
    """Return the threshold [C] with the best F1 of each tag, half way to the next clip below it.

    A tag without enough positives gets the value that 1 in 50 clips exceeds, so that it can still be detected.
    """
    from sklearn.metrics import precision_recall_curve  # late: it loads pandas and pyarrow, and training needs none

    positive = targets >= POSITIVE
    rare = np.quantile(predicted, 0.98, axis=0)
    result = np.clip(rare, 0.02, 0.98).astype(np.float32)
    for tag in np.flatnonzero(scorable(targets)):
        precision, recall, levels = precision_recall_curve(positive[:, tag], predicted[:, tag])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = levels[np.argmax(f1[:-1])]
        below = predicted[predicted[:, tag] < best, tag].max(initial=0.0)
        result[tag] = np.clip((best + below) / 2, 0.02, 0.98)
    return result


@dataclass(frozen=True)
class Agreement:
    """Mean absolute difference and correlation of predictions and soft targets, overall and by tag [C]."""

    difference: float
    correlation: float
    difference_by_tag: NDArray[np.float64]
    correlation_by_tag: NDArray[np.float64]


def agreement(predicted: Array, targets: Array) -> Agreement:
    """Compare predictions with soft targets. Correlations are NaN for constant values."""
    p, t = predicted.astype(np.float64), targets.astype(np.float64)
    by_tag = np.array([_correlation(p[:, c], t[:, c]) for c in range(p.shape[1])])
    difference = np.abs(p - t)
    return Agreement(float(difference.mean()), _correlation(p.ravel(), t.ravel()), difference.mean(axis=0), by_tag)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-12 else float("nan")


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
