"""The figures of models against human tags, as values for JSON; null stands for what cannot be scored.

A track is positive for a tag if any of its annotated clips carries it. Its probability of a tag is the mean over the
frames, and that of a human tag the probability that any of the model's tags behind it is present. Scores are macro
means over the tags with at least five positive and five negative tracks, with 90 % intervals by artist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.concepts.table import concepts_of, grouped, human_columns, members
from trainer.data.manifest import Array
from trainer.evaluate import bootstrap, metrics
from trainer.evaluate.figures import number, numbers
from trainer.evaluate.predictions import Predictions
from trainer.human.tracks import TrackFolder

SECONDS = (1.0, 3.0, 10.0)
LEVEL = 0.90


@dataclass(frozen=True)
class TrackScores:
    """Probabilities of the model's `tags` for n tracks: `mean` [n, C], and `heard` [n, C] by the seconds heard."""

    tags: tuple[str, ...]
    mean: Array
    heard: Mapping[float, Array]

    @classmethod
    def of(cls, tags: Sequence[str], predictions: Predictions) -> TrackScores:
        """Return the mean so far after each of `SECONDS`; NaN before the first frame."""
        moments = {moment: predictions.after(moment) for moment in SECONDS}
        missing = np.full_like(predictions.mean(), np.nan)
        return cls(
            tuple(tags), predictions.mean(), {moment: missing if p is None else p[0] for moment, p in moments.items()}
        )


def evaluate(scores: TrackScores, folder: TrackFolder, draws: int = bootstrap.DRAWS, seed: int = 1) -> dict[str, Any]:
    """Return the figures for the tracks of a folder, all of which have human tags."""
    groups = {tag: members(tag) for tag in folder.tags}
    names = [tag for tag, group in groups.items() if set(group) <= set(scores.tags)]
    positive = folder.counts[:, [folder.tags.index(name) for name in names]] > 0
    merged = {name: groups[name] for name in names}
    return {
        "tracks": len(folder),
        "artists": len(set(folder.artists)),
        "level": LEVEL,
        "draws": draws,
        **score_groups(scores, merged, positive, folder.artists, draws, seed),
        "unknown_tags": sorted(set(folder.tags) - set(names)),
        "concepts": _by_concept(scores, folder, draws, seed),
    }


def _by_concept(scores: TrackScores, folder: TrackFolder, draws: int, seed: int) -> dict[str, Any]:
    """Return the scores of each concept that some human tag is about."""
    about = {concept: human_columns(concept, folder.tags) for concept in concepts_of(scores.tags)}
    groups = {concept.name: concept.tags for concept, columns in about.items() if columns}
    if not groups:
        return {}
    positive = np.stack([(folder.counts[:, columns] > 0).any(axis=1) for columns in about.values() if columns], axis=1)
    found: dict[str, Any] = score_groups(scores, groups, positive, folder.artists, draws, seed)["tags"]
    return found


def score_groups(
    scores: TrackScores,
    groups: Mapping[str, Sequence[str]],
    positive: NDArray[np.bool_],
    artists: Sequence[str],
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """Return the scores of groups of tags, each present where any of its members is, against positives [n, K]."""
    truth = positive.astype(np.float32)
    predicted = grouped(scores.mean, scores.tags, list(groups.values()))
    found = metrics.score(predicted, truth)
    bounds = bootstrap.intervals(predicted, truth, artists, metrics.MIN_CLIPS, draws, seed, LEVEL)
    heard = {
        moment: metrics.macro_roc_auc(grouped(part, scores.tags, list(groups.values())), truth)
        if np.isfinite(part).all()
        else np.nan
        for moment, part in scores.heard.items()
    }
    return {
        "roc_auc": number(found.roc_auc), "roc_auc_interval": numbers(bounds.roc_auc),
        "pr_auc": number(found.pr_auc), "pr_auc_interval": numbers(bounds.pr_auc),
        "scored_tags": found.scored,
        "heard": {"seconds": list(heard), "roc_auc": [number(value) for value in heard.values()]},
        "tags": {
            name: {
                "members": list(group), "positives": int(positive[:, k].sum()),
                "roc_auc": number(found.roc_auc_by_tag[k]), "roc_auc_interval": numbers(bounds.roc_auc_by_tag[:, k]),
                "pr_auc": number(found.pr_auc_by_tag[k]), "pr_auc_interval": numbers(bounds.pr_auc_by_tag[:, k]),
            }
            for k, (name, group) in enumerate(groups.items())
        },
    }  # fmt: skip
