"""Change points: found where the probabilities change for long, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.inference.change_points import DELAY_S, find_change_points

HOP_S = 0.256


def music(lengths_s: list[float], seed: int = 3, concepts: int = 12) -> NDArray[np.float64]:
    """[F, K] probabilities that change at random after each length, and waver in between."""
    random = np.random.default_rng(seed)
    levels = random.normal(-1.5, 1.5, (len(lengths_s), concepts))
    logits = np.repeat(levels, [round(length / HOP_S) for length in lengths_s], axis=0)
    return np.asarray(1 / (1 + np.exp(-logits - random.normal(0, 0.7, logits.shape))))


def test_changes_are_found_where_they_are() -> None:
    lengths = [31.0, 74.0, 22.0, 180.0, 40.0]
    changes = find_change_points(music(lengths), HOP_S)
    assert changes == pytest.approx(np.cumsum(lengths)[:-1] - DELAY_S, abs=1)


def test_what_only_wavers_has_none() -> None:
    assert len(find_change_points(music([600.0]), HOP_S)) == 0


def test_what_is_short_is_no_segment() -> None:
    probs = music([120.0])
    probs[200:220] = 1 - probs[200:220]  # 5 s
    assert len(find_change_points(probs, HOP_S)) == 0


@pytest.mark.parametrize("frames", [0, 1, 2, 30])
def test_the_shortest_recordings_are_one_segment(frames: int) -> None:
    assert len(find_change_points(music([60.0])[:frames], HOP_S)) == 0


def test_certain_concepts_and_impossible_ones_can_be_told_apart() -> None:
    probs = np.zeros((400, 3))
    probs[:200, 0] = probs[200:, 1] = 1
    assert find_change_points(probs, HOP_S) == pytest.approx([200 * HOP_S - DELAY_S])
