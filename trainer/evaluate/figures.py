"""All figures of one system on one split, as numbers that JSON can hold. null: cannot be scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data import magnatagatune
from trainer.data.manifest import Array, Manifest
from trainer.evaluate import bootstrap, metrics, pooling, stream_inference, streaming
from trainer.evaluate.calibration import calibration
from trainer.evaluate.confusion import confusion
from trainer.evaluate.evaluated_model import EvaluatedModel
from trainer.evaluate.predictions import Predictions
from trainer.targets import clip_targets

VALID, TEST = "valid", "test"
FORMAT = 1
WHOLE = 0.995  # share of a split's clips from which on it is the usual one
PAIRS = 15  # of tags taken for each other, that are named


@dataclass(frozen=True)
class Options:
    """How much is measured. draws: of the bootstrap; minutes: of the endless stream, none to leave it out."""

    draws: int = bootstrap.DRAWS
    minutes: tuple[int, ...] = streaming.MINUTES
    streams: int = streaming.STREAMS
    seed: int = 1

    @classmethod
    def up_to(cls, minute: int, draws: int, streams: int = streaming.STREAMS) -> Options:
        """The usual minutes below that one, and that one."""
        marks = tuple(mark for mark in streaming.MINUTES if mark < minute) + ((minute,) if minute else ())
        return cls(draws, marks, streams)


def evaluate(
    subject: EvaluatedModel,
    manifest: Manifest,
    split: str,
    options: Options | None = None,
    stage: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, Any], Predictions]:
    """The figures of a split, and what they rest on. `stage` is told what is being done.

    Raises ManifestError for a split without clips.
    """
    options = options or Options()
    clips = manifest.split(split)
    targets = clip_targets(manifest)
    least = metrics.least_of(targets)
    stage(f"{split}: hearing {len(clips)} clips")
    heard = subject.collect(list(subject.say(clips)))
    wanted = targets[clips]
    result: dict[str, Any] = {
        "format": FORMAT,
        **subject.about,
        "data": manifest.root.resolve().name,
        "about": manifest.about,
        "notes": list(manifest.notes),
        "split": split,
        "clips": len(clips),
        "comparable": comparable(manifest, split),
        "positive_from": metrics.POSITIVE,
        "targets": "hard" if least == metrics.LEAST_HARD else "soft",
        "not_scored": {manifest.tags[tag]: why for tag, why in metrics.unscored(wanted, least).items()},
    }
    learned: Array | str = "it needs more than one frame a clip"
    if len(heard.heard_s) > 1:
        stage("learned pooling")
        learned = _learned(subject, manifest, split, targets, heard)
    stage("intervals")
    groups = [manifest.clips[i].artist or manifest.clips[i].clip_id for i in clips]
    scores = {"mean": heard.mean(), "last": heard.last(), "learned": learned}
    bounds = {
        name: bootstrap.intervals(said, wanted, groups, least, options.draws, options.seed)
        for name, said in scores.items()
        if not isinstance(said, str)
    }
    result["scores"] = {
        name: {"missing": said} if isinstance(said, str) else _scores(said, wanted, least, bounds[name])
        for name, said in scores.items()
    }
    unknown = sum(not manifest.clips[i].artist for i in clips)
    result["intervals"] = {
        "by": "artist", "groups": bounds["mean"].groups, "clips_without_artist": unknown,
        "draws": options.draws, "level": bootstrap.LEVEL,
    }  # fmt: skip
    result["parts"] = parts(heard, wanted, [manifest.clips[i].kind for i in clips], least)
    result["tags"] = by_tag(heard.mean(), wanted, manifest.tags, least, bounds["mean"])
    result["calibration"], result["confusion"] = _meaning(heard.mean(), wanted, manifest.tags)
    result |= _streaming(subject, manifest, clips, wanted, least, heard, options, stage)
    return result, heard


def final_split(manifest: Manifest) -> str:
    """The split to judge by: test, where there is one."""
    return TEST if any(clip.split == TEST for clip in manifest.clips) else VALID


def comparable(manifest: Manifest, split: str) -> bool:
    """Whether this is MagnaTagATune's usual split, but for clips that are broken or do not decode."""
    whole = magnatagatune.TAGGED.get(split, 0)
    there = sum(clip.split == split for clip in manifest.clips)
    return manifest.about == magnatagatune.ABOUT and WHOLE * whole <= there <= whole


def _learned(
    subject: EvaluatedModel, manifest: Manifest, split: str, targets: Array, heard: Predictions
) -> Array | str:
    """Scores [n, C], or why there are none."""
    if split == VALID:
        return "it is fitted on this very split"
    if not any(clip.split == VALID for clip in manifest.clips):
        return "there is no validation split to fit it on"
    clips = manifest.split(VALID)
    said = subject.collect(list(subject.say(clips)))
    return pooling.fit(said, targets[clips] >= metrics.POSITIVE)(heard)


def _scores(said: Array, targets: Array, least: int, bounds: bootstrap.Intervals) -> dict[str, Any]:
    found = metrics.score(said, targets, least)
    return {
        "roc_auc": number(found.roc_auc), "roc_auc_interval": numbers(bounds.roc_auc),
        "pr_auc": number(found.pr_auc), "pr_auc_interval": numbers(bounds.pr_auc),
        "scored_tags": found.scored,
    }  # fmt: skip


def parts(heard: Predictions, targets: Array, kinds: Sequence[str], least: int) -> dict[str, Any]:
    """Over all clips, and over each kind of them where there are several."""
    named = np.asarray(kinds)
    chosen = {"all": np.ones(len(named), dtype=np.bool_)}
    if len(set(kinds)) > 1:
        chosen |= {kind: named == kind for kind in sorted(set(kinds))}
    soon = heard.after(3.0)
    return {name: _part(heard.mean(), soon and soon[0], targets, rows, least) for name, rows in chosen.items()}


def _part(whole: Array, soon: Array | None, targets: Array, rows: NDArray[np.bool_], least: int) -> dict[str, Any]:
    scores, close = metrics.score(whole[rows], targets[rows], least), metrics.agreement(whole[rows], targets[rows])
    early = metrics.score(soon[rows], targets[rows], least).roc_auc if soon is not None else np.nan
    return {
        "clips": scores.clips, "scored_tags": scores.scored, "roc_auc": number(scores.roc_auc),
        "pr_auc": number(scores.pr_auc), "roc_auc_3s": number(early), "difference": number(close.difference),
        "correlation": number(close.correlation),
    }  # fmt: skip


def by_tag(
    said: Array, targets: Array, tags: Sequence[str], least: int, bounds: bootstrap.Intervals
) -> dict[str, dict[str, Any]]:
    scores, close = metrics.score(said, targets, least), metrics.agreement(said, targets)
    return {
        tag: {
            "positives": int((targets[:, c] >= metrics.POSITIVE).sum()),
            "roc_auc": number(scores.roc_auc_by_tag[c]), "roc_auc_interval": numbers(bounds.roc_auc_by_tag[:, c]),
            "pr_auc": number(scores.pr_auc_by_tag[c]), "pr_auc_interval": numbers(bounds.pr_auc_by_tag[:, c]),
            "difference": number(close.difference_by_tag[c]), "correlation": number(close.correlation_by_tag[c]),
        }
        for c, tag in enumerate(tags)
    }  # fmt: skip


def _meaning(said: Array, targets: Array, tags: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    given = targets >= metrics.POSITIVE
    found, mixed = calibration(said, given), confusion(said, given)
    strongest = [
        {
            "tag": tags[i],
            "heard": tags[j],
            "given": number(mixed.given[i, j]),
            "predicted": number(mixed.predicted[i, j]),
        }
        for i, j in mixed.strongest(PAIRS)
    ]
    curve = {"said": numbers(found.said), "given": numbers(found.given), "count": found.count.tolist()}
    worst = {tag: number(error) for tag, error in zip(tags, found.by_tag, strict=True)}
    return (
        {"ece": number(found.error), "ece_by_tag_mean": number(found.by_tag.mean()), "curve": curve, "by_tag": worst},
        {"strongest": strongest, "excess": [numbers(row) for row in mixed.excess]},
    )


def _streaming(
    subject: EvaluatedModel,
    manifest: Manifest,
    clips: NDArray[np.int64],
    targets: Array,
    least: int,
    heard: Predictions,
    options: Options,
    stage: Callable[[str], None],
) -> dict[str, Any]:
    """By seconds heard, after a change of song, and after an hour; nothing for what hears whole clips."""
    if subject.listener is None or subject.read is None:
        return {"streaming": {"missing": "it hears whole clips"}}
    stage("by seconds heard")
    soon = streaming.heard(heard, targets, least)
    stage("after another song")
    before = streaming.songs_before(clips, [manifest.clips[i].artist for i in clips], options.seed)
    carried = subject.collect(list(stream_inference.after(subject.listener, subject.read, clips, before)))
    changed = streaming.change(carried, heard, targets, least)
    result: dict[str, Any] = {
        "lookahead_s": round(subject.lookahead_s, 4),
        "heard": {"seconds": list(soon.seconds), "mean": numbers(soon.mean), "last": numbers(soon.last)},
        "song_change": {
            "share": streaming.SHARE, "arrived_s": number(changed.arrived_s),
            "fresh_arrived_s": number(changed.fresh_arrived_s), "heard_s": numbers(changed.heard_s),
            "carried": numbers(changed.carried), "fresh": numbers(changed.fresh),
        },
    }  # fmt: skip
    if options.minutes:
        long = streaming.endless(
            subject.listener, subject.read, clips, targets, least, subject.hop_s, subject.collect, heard,
            options.minutes, options.streams, options.seed,
            lambda minute: stage(f"endless stream, minute {minute:.0f} of {options.minutes[-1]}"),
        )  # fmt: skip
        result["endless"] = {
            "streams": long.streams, "minutes": list(long.minutes), "roc_auc": numbers(long.carried),
            "fresh": number(long.fresh),
        }  # fmt: skip
    return {"streaming": result}


def number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def numbers(values: NDArray[np.floating]) -> list[float | None]:
    return [number(float(value)) for value in values]
