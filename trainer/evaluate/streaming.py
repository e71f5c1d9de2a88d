"""What a stream's listener gets: scores by the seconds heard, after a change of song, after an hour.

All follow from frames of whole clips heard one after another; the frames in which two clips would meet in one
window are those of each clip alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.manifest import Array
from trainer.evaluate import metrics, stream_inference
from trainer.evaluate.predictions import Predictions
from trainer.evaluate.stream_inference import Indices, Listener, Read

SECONDS = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 29.0)
MINUTES = (2, 5, 15, 30, 60)
SHARE = 0.95  # of the final score, which counts as having arrived
FINAL_S = 5.0  # at the end of a clip, over which a final score is the mean
STREAMS = 64  # that are heard for an hour
TRIES = 20

Floats = NDArray[np.float64]
Collect = Callable[[Sequence[Array]], Predictions]


@dataclass(frozen=True)
class Heard:
    """ROC-AUC once so many seconds have been heard [S]: of the mean so far and of the last frame; NaN: nothing
    was said yet."""

    seconds: tuple[float, ...]
    mean: Floats
    last: Floats


@dataclass(frozen=True)
class Change:
    """ROC-AUC of the last frame by the seconds since the song began [F]: with the state that the song before has
    left, and from silence. arrived_s: when it reaches 95 % of its final value."""

    heard_s: Floats
    carried: Floats
    fresh: Floats

    @property
    def arrived_s(self) -> float:
        return arrival(self.heard_s, self.carried)

    @property
    def fresh_arrived_s(self) -> float:
        return arrival(self.heard_s, self.fresh)


@dataclass(frozen=True)
class Endless:
    """ROC-AUC [M] of the clips' means, each heard in a minute of an endless stream; `fresh`: from silence."""

    minutes: tuple[int, ...]
    streams: int
    carried: Floats
    fresh: float


def heard(predictions: Predictions, targets: Array, least: int, seconds: Sequence[float] = SECONDS) -> Heard:
    """Against targets [n, C]."""
    scores = np.full((2, len(seconds)), np.nan)
    for place, moment in enumerate(seconds):
        said = predictions.after(moment)
        if said is not None:
            scores[:, place] = [metrics.macro_roc_auc(part, targets, least) for part in said]
    return Heard(tuple(seconds), scores[0], scores[1])


def change(carried: Predictions, fresh: Predictions, targets: Array, least: int) -> Change:
    """The same clips [n], heard after another song and from silence, against targets [n, C]."""
    curves = [_curve(part, targets, least) for part in (carried, fresh)]
    return Change(carried.heard_s, *curves)


def _curve(predictions: Predictions, targets: Array, least: int) -> Floats:
    said = (predictions.after(float(moment)) for moment in predictions.heard_s)
    return np.array([metrics.macro_roc_auc(now[1], targets, least) for now in said if now is not None])


def arrival(heard_s: Floats, scores: Floats) -> float:
    """Seconds until the score reaches 95 % of its mean over the last 5 s."""
    final = scores[heard_s > heard_s[-1] - FINAL_S].mean()
    return float(heard_s[np.argmax(scores >= SHARE * final)])


def songs_before(clips: Indices, artists: Sequence[str], seed: int) -> Indices:
    """Another clip for each of the clips [n], of another artist [n] where chance finds one."""
    rng = np.random.default_rng(seed)
    chosen = np.roll(np.arange(len(clips)), 1)
    for place in range(len(clips)):
        for candidate in rng.integers(len(clips), size=TRIES):
            if candidate != place and (artists[candidate] != artists[place] or not artists[place]):
                chosen[place] = candidate
                break
    return clips[chosen]


def endless(
    listener: Listener,
    read: Read,
    clips: Indices,
    targets: Array,
    least: int,
    hop_s: float,
    collect: Collect,
    fresh: Predictions,
    minutes: Sequence[int] = MINUTES,
    streams: int = STREAMS,
    seed: int = 1,
    tick: Callable[[float], None] = lambda _: None,
) -> Endless:
    """`streams` play the clips in random order without end. In each of the `minutes` (2: after one minute of other
    clips) every clip is heard once, as the next one of some stream. `tick` is told the minutes played."""
    streams = min(streams, len(clips))
    rng = np.random.default_rng(seed)
    state, seconds, scores = listener.initial_state(streams), 0.0, []
    for minute in minutes:
        while seconds < 60 * (minute - 1):
            frames, state = stream_inference.go_on(listener, read, rng.permutation(clips)[:streams], state)
            seconds += frames * hop_s
            tick(seconds / 60)
        said = collect(list(stream_inference.within(listener, read, clips, state, streams)))
        scores.append(metrics.macro_roc_auc(said.mean(), targets, least))
    alone = metrics.macro_roc_auc(fresh.mean(), targets, least)
    return Endless(tuple(minutes), streams, np.array(scores), alone)
