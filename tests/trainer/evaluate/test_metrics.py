"""Scores against hand-made cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.manifest import Array
from trainer.evaluate import metrics


def targets() -> Array:
    """20 clips, 3 tags: ten positives, four positives (too few), all positive."""
    soft = np.full((20, 3), 0.1, dtype=np.float32)
    soft[:10, 0] = 0.5
    soft[:4, 1] = 0.9
    soft[:, 2] = 0.8
    return soft


def test_perfect_and_reversed() -> None:
    soft = targets()
    best, worst = metrics.score(soft, soft), metrics.score(1 - soft, soft)
    assert (best.roc_auc, best.pr_auc, best.scored, best.clips) == (1.0, 1.0, 1, 20)
    assert worst.roc_auc == 0.0
    assert np.isnan(best.roc_auc_by_tag[1:]).all()


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 5))
def test_the_macro_mean_alone_is_the_same(seed: int, clips: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    predicted = (rng.integers(0, levels + 1, (clips, 4)) / levels).astype(np.float32)
    hard = (rng.random((clips, 4)) < 0.5).astype(np.float32)
    expected = metrics.score(predicted, hard, min_clips=1).roc_auc
    assert metrics.macro_roc_auc(predicted, hard, min_clips=1) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_hard_targets_need_one_of_each_and_soft_ones_five() -> None:
    hard = np.zeros((6, 2), dtype=np.float32)
    hard[0, 0] = 1.0
    assert metrics.min_clips_of(hard) == 1
    assert metrics.min_clips_of(targets()) == metrics.MIN_CLIPS
    assert metrics.unscored(hard, 1) == {1: "0 positives and 6 negatives, 1 needed of each"}
    assert metrics.score(hard, hard, min_clips=1).scored == 1
    assert metrics.score(hard, hard).scored == 0


def test_thresholds_have_the_best_f1() -> None:
    rng = np.random.default_rng(1)
    soft = (rng.random((300, 1)) < 0.3).astype(np.float32)
    predicted = (0.2 * soft + 0.3 * rng.random((300, 1))).astype(np.float32)  # never reaches 0.5

    def f1(level: float) -> float:
        chosen, given = predicted[:, 0] >= level, soft[:, 0] > 0.5
        return float(2 * (chosen & given).sum() / (chosen.sum() + given.sum()))

    found = float(metrics.thresholds(predicted, soft)[0])
    assert f1(found) >= max(f1(level) for level in np.linspace(0, 0.6, 200)) - 1e-9
    assert f1(found) > f1(0.5)


def test_thresholds_lie_half_way_between_the_clips_that_they_part() -> None:
    soft = np.repeat([0.0, 1.0], 5).astype(np.float32)[:, None]
    predicted = np.array([0.0, 0.05, 0.1, 0.15, 0.2, 0.6, 0.7, 0.8, 0.9, 1.0], np.float32)[:, None]
    assert metrics.thresholds(predicted, soft)[0] == pytest.approx(0.4)


def test_thresholds_of_rare_tags_can_be_reached() -> None:
    predicted = np.linspace(0, 0.2, 100, dtype=np.float32)[:, None]
    level = metrics.thresholds(predicted, np.zeros((100, 1), dtype=np.float32))[0]
    assert (predicted >= level).sum() in (1, 2, 3)


def test_agreement() -> None:
    soft = targets()
    same = metrics.agreement(soft, soft)
    assert same.difference == 0.0
    assert same.correlation == pytest.approx(1.0)
    assert np.isnan(same.correlation_by_tag[2])  # it does not vary
    off = metrics.agreement(soft + np.float32(0.1), soft)
    assert off.difference == pytest.approx(0.1)
    assert metrics.agreement(-soft, soft).correlation == pytest.approx(-1.0)
