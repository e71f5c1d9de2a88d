"""A course over time in a line of characters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.terminal.sparkline import ASCII, BLOCKS, characters_for, levels, sparkline


def test_a_ramp_rises_from_the_lowest_to_the_tallest_character() -> None:
    assert sparkline(np.linspace(0, 1, 8), 1.0) == BLOCKS


def test_what_is_above_full_is_drawn_full() -> None:
    assert sparkline(np.array([5.0]), 1.0) == BLOCKS[-1]
    assert sparkline(np.array([0.0, 0.0]), 0.0) == BLOCKS[0] * 2


def test_levels_are_means_of_stretches() -> None:
    np.testing.assert_allclose(levels(np.array([0.0, 1.0, 2.0, 4.0]), 2), [0.5, 3.0])


@given(st.integers(0, 200), st.integers(1, 60))
def test_every_value_counts_once(count: int, cells: int) -> None:
    values = np.random.default_rng(count).random(count)
    heights = levels(values, cells)
    assert len(heights) == min(count, cells)
    if count:
        assert values.min() - 1e-12 <= heights.min()
        assert heights.max() <= values.max() + 1e-12
        edges = np.arange(len(heights) + 1) * count // len(heights)
        assert (heights * np.diff(edges)).sum() == pytest.approx(values.sum())


@pytest.mark.parametrize(
    ("encoding", "characters"),
    [("utf-8", BLOCKS), ("ascii", ASCII), ("latin-1", ASCII), (None, ASCII), ("no such", ASCII)],
)
def test_encodings_without_blocks_get_ascii(encoding: str | None, characters: str) -> None:
    assert characters_for(encoding) == characters
    assert len(ASCII) == len(BLOCKS)
