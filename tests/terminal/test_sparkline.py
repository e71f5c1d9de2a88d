"""A course over time in a line of characters."""

from __future__ import annotations

import numpy as np
import pytest

from streamtag.terminal.sparkline import ASCII, BLOCKS, characters_for, sparkline


def test_a_ramp_rises_from_the_lowest_to_the_tallest_character() -> None:
    assert sparkline(np.linspace(0, 1, 8), 1.0) == BLOCKS


def test_what_is_above_full_is_drawn_full() -> None:
    assert sparkline(np.array([5.0]), 1.0) == BLOCKS[-1]
    assert sparkline(np.array([0.0, 0.0]), 0.0) == BLOCKS[0] * 2


@pytest.mark.parametrize(
    ("encoding", "characters"),
    [("utf-8", BLOCKS), ("ascii", ASCII), ("latin-1", ASCII), (None, ASCII), ("no such", ASCII)],
)
def test_encodings_without_blocks_get_ascii(encoding: str | None, characters: str) -> None:
    assert characters_for(encoding) == characters
    assert len(ASCII) == len(BLOCKS)
