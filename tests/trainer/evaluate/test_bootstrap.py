"""Intervals: scikit-learn's scores for every draw, and wider where clips come in groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from trainer.evaluate import metrics
from trainer.evaluate.bootstrap import intervals, weighted


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 6))
def test_a_draw_scores_as_scikit_learn_does(seed: int, clips: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, levels + 1, clips) / levels).astype(np.float32)  # with many that are equal
    truth = rng.random(clips) < 0.5
    weights = rng.integers(0, 4, (3, clips)).astype(np.float64)
    roc, pr = weighted(scores, truth, weights)
    for draw, weight in enumerate(weights):
        if not weight[truth].sum() or not weight[~truth].sum():
            assert np.isnan(roc[draw])
            assert np.isnan(pr[draw])
        else:
            assert roc[draw] == pytest.approx(roc_auc_score(truth, scores, sample_weight=weight), abs=1e-9)
            assert pr[draw] == pytest.approx(average_precision_score(truth, scores, sample_weight=weight), abs=1e-9)


def sample(artists: int, each: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Clips whose scores hang on their artist: predictions [n, 2], targets [n, 2], names [n]."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.random((artists, 2)) < 0.5, each, axis=0)
    luck = np.repeat(rng.normal(size=(artists, 2)), each, axis=0)
    predicted = truth + luck + 0.1 * rng.normal(size=truth.shape)
    return predicted.astype(np.float32), truth.astype(np.float32), [str(a) for a in range(artists) for _ in range(each)]


def test_clips_of_one_artist_are_drawn_together() -> None:
    predicted, truth, names = sample(30, 12, 1)
    by_artist = intervals(predicted, truth, names, min_clips=1, draws=300)
    by_clip = intervals(predicted, truth, [str(n) for n in range(len(names))], min_clips=1, draws=300)
    width = [float(np.diff(found.roc_auc)[0]) for found in (by_artist, by_clip)]
    assert width[0] > 2 * width[1], "twelve clips of an artist tell little more than one"
    assert (by_artist.groups, by_clip.groups) == (30, 360)
    score = metrics.score(predicted, truth, 1)
    for low, high in (by_artist.roc_auc, by_clip.roc_auc):
        assert low < score.roc_auc < high
    low, high = by_artist.pr_auc_by_tag
    assert (low < score.pr_auc_by_tag).all()
    assert (score.pr_auc_by_tag < high).all()


def test_intervals_contain_the_truth_as_often_as_stated() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(100):
        truth = rng.random(150) < 0.5
        predicted = (rng.normal(size=150) + truth)[:, None].astype(np.float32)
        found = intervals(predicted, truth[:, None].astype(np.float32), [str(n) for n in range(150)], 1, draws=200)
        held += bool(found.roc_auc[0] <= 0.7602 <= found.roc_auc[1])  # Φ(1/√2), of two normals one apart
    assert 85 <= held <= 100


def test_unscorable_tags_have_no_interval() -> None:
    predicted, truth, names = sample(20, 3, 4)
    truth[:, 1] = 1.0
    found = intervals(predicted, truth, names, 1, draws=50)
    assert np.isnan(found.roc_auc_by_tag[:, 1]).all()
    assert np.isfinite(found.roc_auc_by_tag[:, 0]).all()
    assert found.roc_auc == pytest.approx(found.roc_auc_by_tag[:, 0])
    nothing = intervals(predicted[:, 1:], truth[:, 1:], names, 1, draws=50)
    assert np.isnan(nothing.roc_auc).all()
