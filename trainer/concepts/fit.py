"""Calibration of concepts: Platt scaling of frames, and a threshold for events, or none where the evidence is thin.

Platt scaling (1999) fits the two parameters of ConceptSpec to labels between 0 and 1 by cross-entropy. The threshold
has the largest expected F-measure on frames that are calibrated, then smoothed as the product's events are:
(1 + BETA²) TP / (P + BETA² T), where a frame with label y counts as y positives. All evidence counts, or that of the
teachers alone where people do not know the concept well enough. A concept gets no threshold, and so no events, with
fewer than MIN_POSITIVES expected positive clips, if its ROC-AUC may be below MIN_ROC_AUC both against people and
against the teachers (lower end of the 90 % interval by artist), or if less than MIN_PRECISION of the frames above the
best threshold would have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.model_selection import GroupKFold

from streamtag.model import ConceptMap
from streamtag.spec import ConceptSpec
from trainer.concepts.evidence import Evidence, smoothed
from trainer.data.manifest import Array
from trainer.evaluate import bootstrap, metrics
from trainer.evaluate.calibration import calibration

Floats = NDArray[np.float64]

BETA = 0.7  # recall weighs half as much as precision: a wrong concept is worse for a listener than a missing one
MIN_POSITIVES = 10.0
MIN_ROC_AUC = 0.6
MIN_PRECISION = 0.25  # low, since annotators miss tags too: see evidence.RECALL
FRAME_STEP = 4  # of frames that scale and offset are fitted to: neighbours tell the same
LEVEL = 0.9
DRAWS = 500
FOLDS = 5  # for the calibration error, by artist
SCALE_SPREAD, OFFSET_SPREAD = 0.5, 3.0  # of the priors of log(scale) and offset around 0: they decide without evidence
MARGIN = 1e-6  # of probabilities from 0 and 1
LOWEST, HIGHEST = 0.01, 0.99  # thresholds


@dataclass(frozen=True)
class ConceptFit:
    """A calibrated concept and what speaks for it.

    `positives`: expected positive clips. `roc_auc` with its lower bound, and `source`, teachers or people, that it is
    against; NaN if neither knows enough. `precision`: expected share of frames above the threshold with the concept.
    `ece`: the expected calibration error of frames, out of fold by artist; `ece_before`: without calibration.
    """

    concept: ConceptSpec
    positives: float
    roc_auc: float
    roc_auc_lower: float
    source: str
    precision: float
    ece: float
    ece_before: float


def fit_concepts(
    tags: Sequence[str], concepts: Sequence[ConceptSpec], teachers: Evidence | None, people: Evidence | None = None
) -> list[ConceptFit]:
    """Return each concept with scale, offset and threshold fitted to all evidence, of which there must be some."""
    sources = {name: part for name, part in (("teachers", teachers), ("people", people)) if part is not None}
    union = ConceptMap(tags, concepts)
    frames = {name: [union(clip) for clip in part.frames] for name, part in sources.items()}
    labels = np.concatenate([label for part in sources.values() for label in part.labels])
    artists = np.concatenate([_per_frame(part.artists, part) for part in sources.values()])
    weights = np.array(
        [np.concatenate([part.frame_weights(k) for part in sources.values()]) for k in range(len(concepts))]
    )
    raw = logits(np.concatenate([clip for clips in frames.values() for clip in clips]))
    fitted = []
    few = slice(None, None, FRAME_STEP)
    for k, concept in enumerate(concepts):
        scale, offset = fit_platt(raw[few, k], labels[few, k], FRAME_STEP * weights[k, few])
        fitted.append(replace(concept, scale=round(scale, 4), offset=round(offset, 4)))
    calibrate = ConceptMap(tags, fitted)
    smooth = np.concatenate(
        [clip for part in sources.values() for clip in smoothed([calibrate(f) for f in part.frames], part.hop_s)]
    )
    scores = {name: _auc(frames[name], part) for name, part in sources.items()}
    counts = {name: sum(len(clip) for clip in part.frames) for name, part in sources.items()}
    by_teachers = slice(0, counts.get("teachers", 0))  # their frames come first
    result = []
    for k, concept in enumerate(fitted):
        positives = float(weights[k] @ labels[:, k])
        source, area, lower = _best_evidence({name: (own[0][k], own[1][k]) for name, own in scores.items()})
        chosen_frames = by_teachers if source == "teachers" else slice(None)
        evidence = smooth[chosen_frames, k], labels[chosen_frames, k], weights[k, chosen_frames]
        threshold, precision = best_threshold(*evidence)
        has_events = positives >= MIN_POSITIVES and lower >= MIN_ROC_AUC and precision >= MIN_PRECISION
        chosen = replace(concept, threshold=round(threshold, 4) if has_events else None)
        held_out = _held_out(raw[few, k], labels[few, k], FRAME_STEP * weights[k, few], artists[few])
        known = weights[k, few] > 0
        errors = [_ece(p[known], labels[few, k][known]) for p in (held_out, expit(raw[few, k]))]
        result.append(ConceptFit(chosen, positives, area, lower, source, precision, *errors))
    return result


def logits(probabilities: Array) -> Floats:
    """Return finite log-odds of probabilities."""
    return np.asarray(logit(np.clip(probabilities.astype(np.float64), MARGIN, 1 - MARGIN)))


def fit_platt(x: Floats, labels: Array, weights: Array) -> tuple[float, float]:
    """Return scale > 0 and offset of sigmoid(scale x + offset), fitted to labels [M] in [0, 1] by their cross-entropy.

    Gaussian priors pull towards scale 1 and offset 0 as much as about one clip of weight 1 does.
    """

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scale, offset = np.exp(parameters[0]), parameters[1]
        z = scale * x + offset
        entropy = weights @ (np.logaddexp(0, z) - labels * z)
        difference = weights * (expit(z) - labels)
        prior = 0.5 * (parameters[0] / SCALE_SPREAD) ** 2 + 0.5 * (offset / OFFSET_SPREAD) ** 2
        slope = [difference @ x * scale + parameters[0] / SCALE_SPREAD**2, difference.sum() + offset / OFFSET_SPREAD**2]
        return float(entropy + prior), np.array(slope)

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3.0, 3.0), (-20.0, 20.0)])
    return float(np.exp(found.x[0])), float(found.x[1])


def best_threshold(p: Array, labels: Array, weights: Array) -> tuple[float, float]:
    """Return the threshold of probabilities [M] with the largest expected F-measure, half way to the next frame below
    it, and the expected precision there."""
    order = np.argsort(-p, kind="stable")
    ordered = p[order].astype(np.float64)
    true = np.cumsum((weights * labels)[order], dtype=np.float64)
    chosen = np.cumsum(weights[order], dtype=np.float64)
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # of runs of equal probabilities
    f = (1 + BETA**2) * true[ends] / np.maximum(chosen[ends] + BETA**2 * true[-1], 1e-12)
    best = ends[np.argmax(f)]
    below = ordered[best + 1] if best + 1 < len(ordered) else 0.0
    precision = float(true[best] / max(chosen[best], 1e-12))
    return float(np.clip((ordered[best] + below) / 2, LOWEST, HIGHEST)), precision


def _per_frame(values: Sequence[str], part: Evidence) -> NDArray[np.str_]:
    return np.repeat(np.array(values), [len(clip) for clip in part.frames])


def _auc(frames: Sequence[Array], part: Evidence) -> tuple[Floats, Floats]:
    """Return the ROC-AUC of clips' means and its lower bound, [K] each, NaN where too few clips are positive."""
    means, truth = np.array([clip.mean(axis=0) for clip in frames]), part.clip_labels()
    bounds = bootstrap.intervals(means, truth, part.artists, metrics.MIN_CLIPS, DRAWS, level=LEVEL)
    return metrics.score(means, truth).roc_auc_by_tag, bounds.roc_auc_by_tag[0]


def _best_evidence(scores: dict[str, tuple[float, float]]) -> tuple[str, float, float]:
    """Return the source that decides, with its ROC-AUC and lower bound: people, or teachers where they do not suffice.

    People name what a whole track has, which may be silent in its excerpt; teachers know what sounds there.
    """
    known = [(name, *scores[name]) for name in ("people", "teachers") if np.isfinite(scores.get(name, (0, np.nan))[1])]
    sufficient = [found for found in known if found[2] >= MIN_ROC_AUC]
    return next(iter(sufficient or known), ("", float("nan"), float("nan")))


def _held_out(x: Floats, labels: Array, weights: Array, artists: NDArray[np.str_]) -> Floats:
    """Return calibrated probabilities [M], each fitted without the frame's artist."""
    folds = min(FOLDS, len(np.unique(artists)))
    result = expit(x)
    if folds > 1:
        for fitted, left_out in GroupKFold(folds).split(x, groups=artists):
            scale, offset = fit_platt(x[fitted], labels[fitted], weights[fitted])
            result[left_out] = expit(scale * x[left_out] + offset)
    return np.asarray(result)


def _ece(p: Floats, labels: Array) -> float:
    return calibration(p[:, None].astype(np.float32), labels[:, None]).error
