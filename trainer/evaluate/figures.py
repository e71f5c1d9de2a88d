"""All figures of one system on one split, as values for JSON; null stands for what cannot be scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import ManifestError, SourceError
from trainer.data import magnatagatune
from trainer.data.manifest import REAL, TEST, VALID, Array, Manifest
from trainer.evaluate import bootstrap, metrics, pooling, song_change, streaming
from trainer.evaluate.calibration import calibration
from trainer.evaluate.confusion import confusion
from trainer.evaluate.evaluated_model import EvaluatedModel
from trainer.evaluate.predictions import Predictions
from trainer.evaluate.stream_inference import predict_after
from trainer.targets import clip_targets

FORMAT = 1
MIN_SHARE_OF_SPLIT = 0.995  # from which on the clips count as the standard split
MAX_CONFUSIONS = 15  # that are named
EARLY_SECONDS = (1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Options:
    """What is measured: the draws of the bootstrap, and the minutes of the endless stream (none to leave it out).

    `pooling`: one of POOLINGS, by which clips are scored wherever nothing else is said.
    """

    draws: int = bootstrap.DRAWS
    minutes: tuple[int, ...] = streaming.MINUTES
    streams: int = streaming.STREAMS
    seed: int = 1
    pooling: str = "mean"

    @classmethod
    def up_to(cls, minute: int, draws: int, streams: int = streaming.STREAMS) -> Options:
        """Return options with the standard minutes below `minute`, and `minute` itself."""
        minutes = tuple(mark for mark in streaming.MINUTES if mark < minute) + ((minute,) if minute else ())
        return cls(draws, minutes, streams)


def evaluate(
    model: EvaluatedModel,
    manifest: Manifest,
    split: str,
    options: Options | None = None,
    on_stage: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, Any], Predictions]:
    """Return the figures of a split, and the predictions behind them. `on_stage` is called with each stage's name.

    Raises ManifestError for a split without clips, and where there is no score by the pooling of the options.
    """
    options = options or Options()
    clips = manifest.split(split)
    all_targets = clip_targets(manifest)
    min_clips = metrics.min_clips_of(all_targets)
    on_stage(f"{split}: hearing {len(clips)} clips")
    predictions = model.collect(model.predict(clips))
    targets = all_targets[clips]
    result: dict[str, Any] = {
        "format": FORMAT,
        **model.info,
        "data": manifest.root.resolve().name,
        "about": manifest.description,
        "notes": list(manifest.notes),
        "split": split,
        "pooling": options.pooling,
        "clips": len(clips),
        "comparable": comparable(manifest, split),
        "positive_from": metrics.POSITIVE,
        "targets": "hard" if min_clips == metrics.MIN_CLIPS_HARD else "soft",
        "not_scored": {manifest.tags[tag]: why for tag, why in metrics.unscored(targets, min_clips).items()},
    }
    learned: Array | str = "it needs more than one frame a clip"
    if len(predictions.input_s) > 1:
        on_stage("learned pooling")
        learned = _learned_pooling(model, manifest, split, all_targets, predictions)
    on_stage("intervals")
    groups = [manifest.clips[i].artist or manifest.clips[i].clip_id for i in clips]
    scores = {"mean": predictions.mean(), "last": predictions.last(), "learned": learned}
    chosen = scores[options.pooling]
    if isinstance(chosen, str):
        raise ManifestError(f"{manifest.root}: no {options.pooling} pooling for {model.info['name']}: {chosen}")
    bounds = {
        name: bootstrap.intervals(p, targets, groups, min_clips, options.draws, options.seed)
        for name, p in scores.items()
        if not isinstance(p, str)
    }
    result["scores"] = {
        name: {"missing": p} if isinstance(p, str) else _scores(p, targets, min_clips, bounds[name])
        for name, p in scores.items()
    }
    unknown = sum(not manifest.clips[i].artist for i in clips)
    result["intervals"] = {
        "by": "artist", "groups": bounds[options.pooling].groups, "clips_without_artist": unknown,
        "draws": options.draws, "level": bootstrap.LEVEL,
    }  # fmt: skip
    kinds = [manifest.clips[i].kind for i in clips]
    result["parts"] = _by_kind(predictions, chosen, targets, kinds, min_clips, is_last=options.pooling == "last")
    result["tags"] = _by_tag(chosen, targets, manifest.tags, min_clips, bounds[options.pooling])
    result["calibration"] = _calibration(chosen, targets, manifest.tags)
    result["confusion"] = _confusion(chosen, targets, manifest.tags)
    real = np.flatnonzero([kind == REAL for kind in kinds])
    rows = real if len(real) else np.arange(len(clips))  # rendered clips are never averaged in
    artists, heard = [manifest.clips[i].artist for i in clips[rows]], predictions.select(rows)
    result["streaming"] = _streaming(model, clips[rows], artists, all_targets, min_clips, heard, options, on_stage)
    return result, predictions


def final_split(manifest: Manifest) -> str:
    """Return the split for final scores: test, if there is one."""
    return TEST if any(clip.split == TEST for clip in manifest.clips) else VALID


def comparable(manifest: Manifest, split: str) -> bool:
    """Return whether this is MagnaTagATune's standard split, except for clips that do not decode."""
    expected = magnatagatune.TAGGED.get(split, 0)
    count = sum(clip.split == split for clip in manifest.clips)
    return manifest.description == magnatagatune.DESCRIPTION and MIN_SHARE_OF_SPLIT * expected <= count <= expected


def _learned_pooling(
    model: EvaluatedModel, manifest: Manifest, split: str, targets: Array, predictions: Predictions
) -> Array | str:
    """Return scores [n, C], or why there are none."""
    if split == VALID:
        return "it is fitted on this very split"
    if not any(clip.split == VALID for clip in manifest.clips):
        return "there is no validation split to fit it on"
    clips = manifest.split(VALID)
    fitted = pooling.fit(model.collect(model.predict(clips)), targets[clips] >= metrics.POSITIVE)
    return fitted(predictions)


def _scores(predicted: Array, targets: Array, min_clips: int, bounds: bootstrap.Intervals) -> dict[str, Any]:
    found = metrics.score(predicted, targets, min_clips)
    return {
        "roc_auc": number(found.roc_auc), "roc_auc_interval": numbers(bounds.roc_auc),
        "pr_auc": number(found.pr_auc), "pr_auc_interval": numbers(bounds.pr_auc),
        "scored_tags": found.scored,
    }  # fmt: skip


def _by_kind(
    predictions: Predictions, predicted: Array, targets: Array, kinds: Sequence[str], min_clips: int, is_last: bool
) -> dict[str, Any]:
    """Return the scores of all clips, and of each kind if there are several.

    `predicted` [n, C] are those of whole clips; early ones are of the last frame if `is_last`, means otherwise.
    """
    kind_of = np.asarray(kinds)
    masks = {"all": np.ones(len(kind_of), dtype=np.bool_)}
    if len(set(kinds)) > 1:
        masks |= {kind: kind_of == kind for kind in sorted(set(kinds))}
    early = {moment: so_far[int(is_last)] for moment in EARLY_SECONDS if (so_far := predictions.after(moment))}
    return {name: _part(predicted, early, targets, rows, min_clips) for name, rows in masks.items()}


def _part(
    predicted: Array, so_far: Mapping[float, Array], targets: Array, rows: NDArray[np.bool_], min_clips: int
) -> dict[str, Any]:
    whole = predicted[rows]
    scores, agreement = metrics.score(whole, targets[rows], min_clips), metrics.agreement(whole, targets[rows])
    early = {}
    for moment in EARLY_SECONDS:
        part = so_far.get(moment)
        area = np.nan if part is None else metrics.macro_roc_auc(part[rows], targets[rows], min_clips)
        early[f"roc_auc_{moment:g}s"] = number(area)
    return {
        "clips": scores.clips, "scored_tags": scores.scored, "roc_auc": number(scores.roc_auc),
        "pr_auc": number(scores.pr_auc), **early, "difference": number(agreement.difference),
        "correlation": number(agreement.correlation),
    }  # fmt: skip


def _by_tag(
    predicted: Array, targets: Array, tags: Sequence[str], min_clips: int, bounds: bootstrap.Intervals
) -> dict[str, dict[str, Any]]:
    scores, agreement = metrics.score(predicted, targets, min_clips), metrics.agreement(predicted, targets)
    return {
        tag: {
            "positives": int((targets[:, c] >= metrics.POSITIVE).sum()),
            "roc_auc": number(scores.roc_auc_by_tag[c]), "roc_auc_interval": numbers(bounds.roc_auc_by_tag[:, c]),
            "pr_auc": number(scores.pr_auc_by_tag[c]), "pr_auc_interval": numbers(bounds.pr_auc_by_tag[:, c]),
            "difference": number(agreement.difference_by_tag[c]),
            "correlation": number(agreement.correlation_by_tag[c]),
        }
        for c, tag in enumerate(tags)
    }  # fmt: skip


def _calibration(predicted: Array, targets: Array, tags: Sequence[str]) -> dict[str, Any]:
    found = calibration(predicted, targets)
    return {
        "ece": number(found.error), "ece_by_tag_mean": number(found.by_tag.mean()),
        "curve": {
            "said": numbers(found.predicted), "given": numbers(found.positive), "count": found.count.tolist(),
        },
        "by_tag": {tag: number(error) for tag, error in zip(tags, found.by_tag, strict=True)},
    }  # fmt: skip


def _confusion(predicted: Array, targets: Array, tags: Sequence[str]) -> dict[str, Any]:
    found = confusion(predicted, targets >= metrics.POSITIVE)
    strongest = [
        {
            "tag": tags[i], "heard": tags[j], "given": number(found.given[i, j]),
            "predicted": number(found.predicted[i, j]),
        }
        for i, j in found.strongest(MAX_CONFUSIONS)
    ]  # fmt: skip
    return {"strongest": strongest, "excess": [numbers(row) for row in found.excess]}


def _streaming(
    model: EvaluatedModel,
    clips: NDArray[np.int64],
    artists: Sequence[str],
    targets: Array,
    min_clips: int,
    fresh: Predictions,
    options: Options,
    on_stage: Callable[[str], None],
) -> dict[str, Any]:
    """Return the scores by seconds, after a change of song, and of an endless stream; none for whole-clip systems.

    `targets` [all, C] are of all clips in the data set.
    """
    if model.system is None or model.read is None:
        return {"missing": "it hears whole clips"}
    on_stage("by seconds heard")
    by_time = streaming.scores_by_time(fresh, targets[clips], min_clips)
    on_stage("after another song")
    before = song_change.draw_previous(clips, artists, options.seed)
    cut = model.collect(predict_after(model.system, model.read, clips, before))
    result: dict[str, Any] = {
        "clips": len(clips),
        "lookahead_s": round(model.lookahead_s, 4),
        "heard": {"seconds": list(by_time.seconds), "mean": numbers(by_time.mean), "last": numbers(by_time.last)},
        "song_change": _song_change(song_change.song_change(cut, fresh, targets[clips], targets[before], min_clips)),
    }
    rows = song_change.draw_fades(len(clips), options.seed)
    try:
        across = model.collect(
            song_change.predict_across(
                model, clips[rows], before[rows], lambda made: on_stage(f"cross-fade {made} of {len(rows)}")
            )
        )
    except SourceError as error:
        result["cross_fade"] = {"missing": f"sound is missing: {error}"}
    else:
        faded = song_change.song_change(
            across, fresh.select(rows), targets[clips[rows]], targets[before[rows]], min_clips
        )
        result["cross_fade"] = {"fade_s": song_change.FADE_S, **_song_change(faded)}
    if options.minutes:
        found = streaming.endless(
            model, clips, targets[clips], min_clips, fresh, options.minutes, options.streams, options.seed,
            lambda minute: on_stage(f"endless stream, minute {minute:.0f} of {options.minutes[-1]}"),
        )  # fmt: skip
        result["endless"] = {
            "streams": found.streams, "minutes": list(found.minutes), "roc_auc": numbers(found.carried),
            "fresh": number(found.fresh),
        }  # fmt: skip
    return result


def _song_change(change: song_change.SongChange) -> dict[str, Any]:
    return {
        "clips": change.clips, "share": song_change.SHARE, "arrived_s": number(change.settled_s),
        "fresh_arrived_s": number(change.fresh_settled_s),
        "old_half_s": number(change.old_below_s(song_change.HALF)),
        "old_gone_s": number(change.old_below_s(song_change.GONE_SHARE)), "heard_s": numbers(change.input_s),
        "carried": numbers(change.carried), "fresh": numbers(change.fresh),
        "old_carried": numbers(change.old_carried), "old_fresh": numbers(change.old_fresh),
    }  # fmt: skip


def number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def numbers(values: NDArray[np.floating]) -> list[float | None]:
    return [number(float(value)) for value in values]
