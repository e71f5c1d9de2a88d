"""Probabilities that mean what they say, and others."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluate.calibration import calibration


def drawn(n: int = 40000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    p = rng.random((n, 2)).astype(np.float32)
    return p, rng.random((n, 2)) < p


def test_true_probabilities_have_no_error() -> None:
    p, given = drawn()
    found = calibration(p, given)
    assert found.error < 0.01
    assert found.given == pytest.approx(found.said, abs=0.03)
    assert found.count.sum() == p.size


def test_overconfidence_is_an_error_of_its_size() -> None:
    p, given = drawn()
    sure = np.clip(0.5 + 2 * (p - 0.5), 0, 1).astype(np.float32)
    assert calibration(sure, given).error == pytest.approx(np.abs(sure - p).mean(), abs=0.01)


def test_a_case_worked_out_by_hand() -> None:
    p = np.array([[0.1], [0.1], [0.9], [0.9]], np.float32)
    given = np.array([[False], [False], [True], [False]])
    found = calibration(p, given, bins=5)
    assert found.error == pytest.approx((2 * 0.1 + 2 * 0.4) / 4)
    assert found.said == pytest.approx([0.1, 0.9])
    assert found.given == pytest.approx([0.0, 0.5])


def test_tags_that_err_in_opposite_ways_are_seen_apart() -> None:
    p = np.full((100, 2), 0.5, np.float32)
    given = np.zeros((100, 2), dtype=np.bool_)
    given[:, 0] = True
    found = calibration(p, given)
    assert found.error == pytest.approx(0.0)
    assert found.by_tag == pytest.approx([0.5, 0.5])


def test_zero_and_one_have_bins() -> None:
    assert calibration(np.array([[0.0], [1.0]], np.float32), np.array([[False], [True]])).error == 0.0
