"""Scores of streams: by the seconds of audio so far, after a change of song, and after an hour.

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
SHARE = 0.95  # of the final score, at which a score counts as settled
FINAL_S = 5.0  # at the end of a clip, over which the final score is averaged
STREAMS = 64  # that play for an hour
MAX_DRAWS = 20  # of a song by another artist

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScoresByTime:
    """ROC-AUC [S] after so many seconds of audio: of the mean so far and of the last frame; NaN before any frame."""

    seconds: tuple[float, ...]
    mean: Floats
    last: Floats


@dataclass(frozen=True)
class SongChange:
    """ROC-AUC of the last frame by the time since a song began [F], after another song and from the initial state."""

    input_s: Floats
    carried: Floats
    fresh: Floats

    @property
    def settled_s(self) -> float:
        """Return when the score after another song reaches 95 % of its final value."""
        return settling_time(self.input_s, self.carried)

    @property
    def fresh_settled_s(self) -> float:
        return settling_time(self.input_s, self.fresh)


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


def song_change(carried: Predictions, fresh: Predictions, targets: Array, min_clips: int) -> SongChange:
    """Compare predictions of the same clips [n] after another song and from the initial state, for targets [n, C]."""
    curves = [_curve(part, targets, min_clips) for part in (carried, fresh)]
    return SongChange(carried.input_s, *curves)


def _curve(predictions: Predictions, targets: Array, min_clips: int) -> Floats:
    points = (predictions.after(float(moment)) for moment in predictions.input_s)
    return np.array([metrics.macro_roc_auc(point[1], targets, min_clips) for point in points if point is not None])


def settling_time(input_s: Floats, scores: Floats) -> float:
    """Return the seconds until the score reaches 95 % of its mean over the last 5 s."""
    final = scores[input_s > input_s[-1] - FINAL_S].mean()
    return float(input_s[np.argmax(scores >= SHARE * final)])


def draw_previous(clips: Indices, artists: Sequence[str], seed: int) -> Indices:
    """Return a random other clip for each of the clips [n], by another artist [n] if one is found."""
    rng = np.random.default_rng(seed)
    chosen = np.roll(np.arange(len(clips)), 1)
    for index in range(len(clips)):
        for candidate in rng.integers(len(clips), size=MAX_DRAWS):
            if candidate != index and (artists[candidate] != artists[index] or not artists[index]):
                chosen[index] = candidate
                break
    return clips[chosen]


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
