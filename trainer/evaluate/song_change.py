"""Scores after a change of song: how soon the new song's tags are right, and how long those of the old one stay.

The change is a hard cut, where the features of one clip follow those of another, or a cross-fade of their sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import SourceError
from trainer.data.manifest import Array
from trainer.evaluate import metrics
from trainer.evaluate.evaluated_model import EvaluatedModel
from trainer.evaluate.predictions import Predictions
from trainer.evaluate.stream_inference import Indices, predict_fresh
from trainer.features.audio import Samples

CHANCE, SHARE = 0.5, 0.95  # a score counts as settled at this share of its final gain above chance
FINAL_S = 5.0  # at the end of a clip, over which the final score is averaged
HALF, GONE_SHARE = 0.5, 0.05  # of what is known of the old song at the change: its tags are half gone, and gone
FADE_S = 4.0
MAX_FADES = 500  # whose sound is decoded and transformed: some 40 s of one core
MAX_DRAWS = 20  # of a song by another artist

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SongChange:
    """ROC-AUC of the last frame by the time since the change [F], of `clips` clips.

    `carried` and `fresh` are against the new song's targets, after another song and from the initial state;
    `old_carried` and `old_fresh` are the same predictions against the targets of that other song, of which those from
    the initial state know nothing.
    """

    clips: int
    input_s: Floats
    carried: Floats
    fresh: Floats
    old_carried: Floats
    old_fresh: Floats

    @property
    def settled_s(self) -> float:
        """Return when the score after another song reaches 95 % of its final gain above chance."""
        return settling_time(self.input_s, self.carried)

    @property
    def fresh_settled_s(self) -> float:
        return settling_time(self.input_s, self.fresh)

    def old_below_s(self, share: float) -> float:
        """Return after how long less than a share of the old song's tags is left, NaN if more is until the end."""
        return fading_time(self.input_s, self.old_carried - self.old_fresh, share)


def song_change(
    carried: Predictions, fresh: Predictions, targets: Array, old_targets: Array, min_clips: int
) -> SongChange:
    """Compare predictions of the same clips [n] after another song and from the initial state.

    `targets` [n, C] are those of the clips, `old_targets` [n, C] those of the songs before.
    """
    curves = [
        _curve(part, carried.input_s, against, min_clips)
        for against in (targets, old_targets)
        for part in (carried, fresh)
    ]
    return SongChange(len(carried), carried.input_s, *curves)


def _curve(predictions: Predictions, input_s: Floats, targets: Array, min_clips: int) -> Floats:
    points = (predictions.after(float(moment)) for moment in input_s)
    return np.array([metrics.macro_roc_auc(point[1], targets, min_clips) for point in points if point is not None])


def settling_time(input_s: Floats, scores: Floats) -> float:
    """Return the seconds until the score's gain above chance reaches 95 % of its mean over the last 5 s."""
    final = scores[input_s > input_s[-1] - FINAL_S].mean()
    return float(input_s[np.argmax(scores >= CHANCE + SHARE * (final - CHANCE))])


def fading_time(input_s: Floats, excess: Floats, share: float) -> float:
    """Return the seconds after which a score's excess stays below a share of its first value, NaN if it never does.

    Without any excess at first there is nothing to fade: that is the first moment.
    """
    remains = np.flatnonzero(~(excess <= share * max(excess[0], 0.0)))
    after = remains[-1] + 1 if len(remains) else 0
    return float(input_s[after]) if after < len(input_s) else np.nan


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


def draw_fades(clips: int, seed: int, limit: int = MAX_FADES) -> Indices:
    """Return which of so many clips are cross-faded: all, or `limit` of them at random, in order."""
    if clips <= limit:
        return np.arange(clips)
    return np.sort(np.random.default_rng(seed).choice(clips, limit, replace=False))


def predict_across(
    model: EvaluatedModel,
    clips: Indices,
    before: Indices,
    on_progress: Callable[[int], None] = lambda _: None,
    fade_s: float = FADE_S,
) -> Iterator[Array]:
    """Yield the probabilities [F, C] of each clip from the start of its cross-fade with the clip at its index of
    `before`, which the model has heard. `on_progress` is called with the number of cross-fades made.

    Raises SourceError if a sound cannot be read, or the model reads features alone.
    """
    system, sound = model.system, model.sound
    assert system is not None
    if sound is None:
        raise SourceError("the model was given features alone")
    hop, fade = round(model.hop_s * sound.sample_rate), round(fade_s * sound.sample_rate)
    starts: list[int] = []

    def read(pair: int) -> Array:
        samples, start = join(sound.read(int(before[pair])), sound.read(int(clips[pair])), fade, hop)
        starts.append(start // hop)
        on_progress(len(starts))
        return sound.transform(samples)

    for pair, p in enumerate(predict_fresh(system, read, np.arange(len(clips)))):
        yield p[starts[pair] :]


def join(old: Samples, new: Samples, fade: int, multiple: int) -> tuple[Samples, int]:
    """Return two sounds with an equal-power cross-fade of so many samples, and the sample where it and `new` begin.

    The fade takes at most half of each. `old` loses its first samples, so that `new` begins at a `multiple`.
    """
    fade = min(fade, len(old) // 2, len(new) // 2)
    old = old[(len(old) - fade) % multiple :]
    start = len(old) - fade
    angle = (np.arange(fade, dtype=np.float32) + 0.5) * np.float32(np.pi / 2 / max(1, fade))
    mixed = old[start:] * np.cos(angle) + new[:fade] * np.sin(angle)
    return np.concatenate([old[:start], mixed, new[fade:]]), start
