"""Calibration and confusions, against cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluate.calibration import calibration
from trainer.evaluate.confusion import confusion


def test_true_probabilities_have_no_error_and_overconfident_ones_one_of_its_size() -> None:
    rng = np.random.default_rng(0)
    p = rng.random((40000, 2)).astype(np.float32)
    positive = rng.random((40000, 2)) < p
    found = calibration(p, positive)
    assert found.error < 0.01
    assert found.positive == pytest.approx(found.predicted, abs=0.03)
    assert found.count.sum() == p.size
    overconfident = np.clip(0.5 + 2 * (p - 0.5), 0, 1).astype(np.float32)
    assert calibration(overconfident, positive).error == pytest.approx(np.abs(overconfident - p).mean(), abs=0.01)


def test_a_case_worked_out_by_hand() -> None:
    p = np.array([[0.1], [0.1], [0.9], [0.9]], np.float32)
    found = calibration(p, np.array([[False], [False], [True], [False]]), bins=5)
    assert found.error == pytest.approx((2 * 0.1 + 2 * 0.4) / 4)
    assert found.predicted == pytest.approx([0.1, 0.9])
    assert found.positive == pytest.approx([0.0, 0.5])
    assert calibration(np.array([[0.0], [1.0]], np.float32), np.array([[False], [True]])).error == 0.0


def test_tags_that_err_in_opposite_ways_do_not_cancel_by_tag() -> None:
    positive = np.zeros((100, 2), dtype=np.bool_)
    positive[:, 0] = True
    found = calibration(np.full((100, 2), 0.5, np.float32), positive)
    assert found.error == pytest.approx(0.0)
    assert found.by_tag == pytest.approx([0.5, 0.5])


def test_confusion_is_what_exceeds_the_true_co_occurrence() -> None:
    positive = np.zeros((6, 4), dtype=np.bool_)  # the first two tags co-occur, no clip has the fourth
    positive[:4, 0] = True
    positive[:3, 1] = True
    positive[4:, 2] = True
    exact = confusion(positive.astype(np.float32), positive)
    assert exact.given[0, 1] == pytest.approx(0.75)
    assert np.nanmax(np.abs(exact.excess)) == 0.0
    assert np.isnan(exact.excess[3]).all()
    assert np.isfinite(exact.excess[:3]).all()
    assert all(i != 3 and i != j for i, j in exact.strongest(100))
    predicted = positive.astype(np.float32)
    predicted[:4, 2] = 0.8
    found = confusion(predicted, positive)
    assert found.strongest(2)[0] in ((0, 2), (1, 2))
    assert found.excess[0, 2] == pytest.approx(0.8)
    assert found.excess[2, 0] == 0.0
