"""Calibration of concepts: known parameters are found again, and thin evidence gives no events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit

from streamtag.spec import ConceptSpec
from trainer.concepts.evidence import Evidence
from trainer.concepts.fit import BETA, best_threshold, fit_concepts, fit_platt, logits

TAGS = ("rock", "voice", "vocals", "coin")
CONCEPTS = (
    ConceptSpec("rock", "genre", ("rock",)),
    ConceptSpec("vocals", "voice", ("voice", "vocals")),
    ConceptSpec("coin", "mood", ("coin",)),
)


@settings(max_examples=30)
@given(st.floats(0.4, 2.5), st.floats(-3, 3), st.integers(0, 1000))
def test_platt_scaling_finds_the_parameters_again(scale: float, offset: float, seed: int) -> None:
    x = np.random.default_rng(seed).normal(0, 2, 4000)
    labels = expit(scale * x + offset).astype(np.float32)
    found_scale, found_offset = fit_platt(x, labels, np.ones(4000, np.float32))
    assert found_scale == pytest.approx(scale, rel=0.05)
    assert found_offset == pytest.approx(offset, abs=0.05)


@settings(max_examples=50)
@given(st.integers(0, 10_000))
def test_calibrated_probabilities_fit_better_and_keep_their_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(-2, 2, 300), rng.random(300).astype(np.float32) ** rng.integers(1, 5)
    weights = rng.random(300).astype(np.float32)
    scale, offset = fit_platt(x, labels, weights)
    assert scale > 0

    def entropy(z: np.ndarray) -> float:
        return float(weights @ (np.logaddexp(0, z) - labels * z))

    assert entropy(scale * x + offset) <= entropy(x) + 1e-6
    mean = weights @ expit(scale * x + offset) / weights.sum()
    assert mean == pytest.approx(weights @ labels / weights.sum(), abs=0.03)


def test_without_evidence_nothing_changes() -> None:
    assert fit_platt(np.zeros(0), np.zeros(0, np.float32), np.zeros(0, np.float32)) == (1.0, 0.0)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_no_other_threshold_has_a_larger_expected_f_measure(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    p = (0.02 + 0.96 * rng.integers(0, levels, 40) / levels).astype(np.float32)
    labels, weights = rng.random(40).astype(np.float32), rng.random(40).astype(np.float32)
    assume(labels @ weights > 0)

    def f_measure(threshold: float) -> float:
        chosen = weights * (p > threshold)
        return float((1 + BETA**2) * chosen @ labels / (chosen.sum() + BETA**2 * labels @ weights))

    threshold, precision = best_threshold(p, labels, weights)
    chosen = weights * (p > threshold)
    assert precision == pytest.approx(chosen @ labels / chosen.sum(), rel=1e-4)
    assert f_measure(threshold) >= max(f_measure(other) for other in np.linspace(0.01, 0.99, 99)) - 1e-6


def evidence(clips: int, shift: float, seed: int = 1, frames: int = 12) -> Evidence:
    """Clips of 20 artists; the model follows rock and vocals, with log-odds too high by `shift`; coin is chance."""
    rng = np.random.default_rng(seed)
    truth = rng.random((clips, 3)) < (0.4, 0.4, 0.5)
    parts = []
    for row in truth:
        centre = np.array([3.0 * row[0] - 1.5, 3.0 * row[1] - 2.0, 3.0 * row[1] - 2.0, 0.0]) + shift
        parts.append(expit(rng.normal(centre, 0.7, (frames, 4))).astype(np.float32))
    labels = tuple(np.repeat(row[None].astype(np.float32), frames, axis=0) for row in truth)
    artists = tuple(f"artist {n % 20}" for n in range(clips))
    return Evidence(tuple(parts), labels, np.ones((clips, 3), np.float32), artists, 0.256)


def test_concepts_are_calibrated_and_only_those_with_evidence_get_a_threshold() -> None:
    rock, vocals, coin = fit_concepts(TAGS, CONCEPTS, evidence(120, 2.0))
    for fitted in (rock, vocals):
        assert fitted.concept.threshold is not None
        assert fitted.ece < fitted.ece_before / 2
        assert fitted.source == "teachers"
        assert fitted.roc_auc == pytest.approx(1.0, abs=0.02)
        assert fitted.precision > 0.8
    assert rock.concept.offset < -1.0, "its probabilities were too high"
    assert (coin.concept.threshold, coin.positives > 30) == (None, True), "nothing in the sound tells"
    few = fit_concepts(TAGS, CONCEPTS, evidence(15, 2.0))
    assert all(fitted.concept.threshold is None for fitted in few), "fewer than ten positives"


def test_people_decide_unless_only_the_teachers_know_enough() -> None:
    wrong = evidence(120, 0.0)
    wrong = replace(wrong, labels=tuple(1 - label for label in wrong.labels))
    right = evidence(120, 0.0)
    for teachers, people, source in ((right, wrong, "teachers"), (wrong, right, "people")):
        rock, *_ = fit_concepts(TAGS, CONCEPTS, teachers, people)
        assert rock.source == source
        assert rock.roc_auc == pytest.approx(1.0, abs=0.02)
    rock, *_ = fit_concepts(TAGS, CONCEPTS, wrong, wrong)
    assert rock.concept.threshold is None
    assert rock.roc_auc < 0.1
    silent = replace(wrong, weights=np.zeros_like(wrong.weights), labels=tuple(0 * label for label in wrong.labels))
    alone, together = (fit_concepts(TAGS, CONCEPTS, evidence(120, 0.0), part)[0] for part in (None, silent))
    assert (together.source, together.concept) == ("teachers", alone.concept), "what has no weight counts for nothing"


def test_log_odds_are_finite() -> None:
    assert np.isfinite(logits(np.array([0.0, 0.5, 1.0], np.float32))).all()
