"""Scores against human tags: scikit-learn's on the same numbers, and what is not scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from trainer.concepts.table import grouped
from trainer.human.figures import SECONDS, TrackScores, evaluate
from trainer.human.tracks import Track, TrackFolder

TAGS = ("rock", "no vocals", "no vocal", "no voice", "new age", "beats")
HUMAN = ("rock", "no_singer", "new_age", "beat", "jazz")


def made_up(tracks: int = 60, seed: int = 1) -> tuple[TrackFolder, TrackScores]:
    """Tracks of 20 artists with human tags, and probabilities that follow them loosely."""
    rng = np.random.default_rng(seed)
    counts = rng.binomial(3, 0.2, (tracks, len(HUMAN)))
    listed = tuple(Track(str(n), f"artist {n % 20}", Path(f"{n}.opus"), 3) for n in range(tracks))
    source = [0, 1, 1, 1, 2, 3]
    mean = 1 / (1 + np.exp(-rng.normal(size=(tracks, len(TAGS))) - 1.5 * (counts[:, source] > 0)))
    early = {seconds: rng.random(mean.shape).astype(np.float32) for seconds in SECONDS}
    return TrackFolder(Path("nowhere"), HUMAN, listed, counts), TrackScores(TAGS, mean.astype(np.float32), early)


def test_scores_are_those_of_the_merged_tags() -> None:
    folder, scores = made_up()
    found = evaluate(scores, folder, draws=100)
    p = scores.mean.astype(np.float64)
    expected = {"rock": p[:, 0], "no_singer": 1 - (1 - p[:, 1]) * (1 - p[:, 2]) * (1 - p[:, 3]), "new_age": p[:, 4]}
    assert set(found["tags"]) == set(expected), "of beat, one member is missing, and jazz is not a tag of the model"
    assert found["unknown_tags"] == ["beat", "jazz"]
    areas, precisions = [], []
    for tag, predicted in expected.items():
        positive = folder.counts[:, HUMAN.index(tag)] > 0
        areas.append(roc_auc_score(positive, predicted))
        precisions.append(average_precision_score(positive, predicted))
        row = found["tags"][tag]
        assert (row["roc_auc"], row["positives"]) == (pytest.approx(areas[-1], abs=1e-4), positive.sum())
        assert row["roc_auc_interval"][0] < row["roc_auc"] < row["roc_auc_interval"][1]
    assert found["roc_auc"] == pytest.approx(np.mean(areas), abs=1e-4)
    assert found["pr_auc"] == pytest.approx(np.mean(precisions), abs=1e-4)
    assert (found["tracks"], found["artists"], found["level"]) == (60, 20, 0.9)
    assert found["heard"]["roc_auc"][0] == pytest.approx(0.5, abs=0.12), "the early ones are chance"


def test_rare_tags_and_moments_before_the_first_frame_are_not_scored() -> None:
    folder, scores = made_up()
    counts = folder.counts.copy()
    counts[4:, 0] = 0  # at most four positives
    nothing = {**scores.heard, SECONDS[0]: np.full_like(scores.mean, np.nan)}
    found = evaluate(replace(scores, heard=nothing), replace(folder, counts=counts), draws=20)
    assert found["tags"]["rock"]["roc_auc"] is None
    assert found["scored_tags"] == 2
    assert found["heard"]["roc_auc"][0] is None
    assert found["heard"]["roc_auc"][1] is not None


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=5))
def test_any_of_several_is_at_least_as_likely_as_each(probabilities: list[float]) -> None:
    p = np.array([probabilities], np.float32)
    tags = [str(n) for n in range(len(probabilities))]
    ((together,),) = grouped(p, tags, [tags])
    assert max(probabilities) - 1e-5 <= together <= min(1.0, sum(probabilities)) + 1e-5
