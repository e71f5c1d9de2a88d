"""Scores of streams: by the seconds of audio so far, and after an hour.

All are computed from frames of whole clips, one clip after another; frames whose windows would span two clips are those
of each clip alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.manifest import Array
from trainer.evaluate import metrics
from trainer.evaluate.evaluated_model import EvaluatedModel
from trainer.evaluate.predictions import Predictions
from trainer.evaluate.stream_inference import Indices, advance, predict_within

SECONDS = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 29.0)
MINUTES = (2, 5, 15, 30, 60)
STREAMS = 64  # that play for an hour

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScoresByTime:
    """ROC-AUC [S] after so many seconds of audio: of the mean so far and of the last frame; NaN before any frame."""

    seconds: tuple[float, ...]
    mean: Floats
    last: Floats


@dataclass(frozen=True)
class EndlessScores:
    """ROC-AUC [M] of clips in a given minute of an endless stream, and of the same clips from the initial state."""

    minutes: tuple[int, ...]
    streams: int
    carried: Floats
    fresh: float


def scores_by_time(
    predictions: Predictions, targets: Array, min_clips: int, seconds: Sequence[float] = SECONDS
) -> ScoresByTime:
    """Score predictions against targets [n, C] after so many seconds."""
    scores = np.full((2, len(seconds)), np.nan)
    for index, moment in enumerate(seconds):
        so_far = predictions.after(moment)
        if so_far is not None:
            scores[:, index] = [metrics.macro_roc_auc(part, targets, min_clips) for part in so_far]
    return ScoresByTime(tuple(seconds), scores[0], scores[1])


def endless(
    model: EvaluatedModel,
    clips: Indices,
    targets: Array,
    min_clips: int,
    fresh: Predictions,
    minutes: Sequence[int] = MINUTES,
    streams: int = STREAMS,
    seed: int = 1,
    on_progress: Callable[[float], None] = lambda _: None,
) -> EndlessScores:
    """Play the clips in random order to endless streams, and score every clip as the next one in some minutes.

    Minute 2 is after one minute of other clips. `on_progress` is called with the minutes played.
    """
    assert model.system is not None
    assert model.read is not None
    streams = min(streams, len(clips))
    rng = np.random.default_rng(seed)
    state, seconds, scores = model.system.initial_state(streams), 0.0, []
    for minute in minutes:
        while seconds < 60 * (minute - 1):
            frames, state = advance(model.system, model.read, rng.permutation(clips)[:streams], state)
            seconds += frames * model.hop_s
            on_progress(seconds / 60)
        predictions = model.collect(predict_within(model.system, model.read, clips, state, streams))
        scores.append(metrics.macro_roc_auc(predictions.mean(), targets, min_clips))
    alone = metrics.macro_roc_auc(fresh.mean(), targets, min_clips)
    return EndlessScores(tuple(minutes), streams, np.array(scores), alone)
