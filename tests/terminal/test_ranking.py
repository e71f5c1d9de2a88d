"""The order of bars: strongest first within a category, and calm."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.protocol.messages import Concept
from streamtag.protocol.selection import Selection
from streamtag.terminal.bars import MARGIN, Ranking, allot_rows, visible_rows
from streamtag.terminal.widgets import Smoother

TAGS = ("a", "b", "c", "d")
CONCEPTS = (
    Concept("rock", "genre", ("a",), 0.5),
    Concept("harp", "instrument", ("b",), 0.5),
    Concept("guitar", "instrument", ("c",), 0.5),
    Concept("drums", "instrument", ("d",), 0.5),
)
SELECTION = Selection.of(TAGS, (0.5,) * 4, CONCEPTS)
ROCK, HARP, GUITAR, DRUMS = 4, 5, 6, 7
OFF = np.zeros(8, bool)
FRAME_S = 0.2  # between two drawings


def values(rock: float, harp: float, guitar: float, drums: float) -> np.ndarray:
    return np.array([0, 0, 0, 0, rock, harp, guitar, drums])


def test_categories_have_a_fixed_order_and_sorting_takes_effect_at_once() -> None:
    ranking = Ranking(SELECTION)
    assert ranking.groups == ((HARP, GUITAR, DRUMS), (ROCK,))
    ranking.sort(values(0.9, 0.1, 0.2, 0.3))
    assert ranking.groups == ((DRUMS, GUITAR, HARP), (ROCK,))


def test_a_label_rises_only_after_it_was_stronger_without_a_break() -> None:
    ranking = Ranking(SELECTION)
    ranking.sort(values(0, 0.5, 0.4, 0.1))
    for _ in range(4):
        ranking.advance(values(0, 0.5, 0.6, 0.1), FRAME_S)
        assert ranking.groups[0] == (HARP, GUITAR, DRUMS)
    ranking.advance(values(0, 0.5, 0.5 + MARGIN / 2, 0.1), FRAME_S)  # not noticeably stronger: a break
    for _ in range(4):
        ranking.advance(values(0, 0.5, 0.6, 0.1), FRAME_S)
        assert ranking.groups[0] == (HARP, GUITAR, DRUMS)
    ranking.advance(values(0, 0.5, 0.6, 0.1), FRAME_S)
    assert ranking.groups[0] == (GUITAR, HARP, DRUMS)


def test_noise_moves_nothing() -> None:
    rng, ranking = np.random.default_rng(0), Ranking(SELECTION)
    ranking.sort(values(0, 0.5, 0.5, 0.5))
    before = ranking.groups
    for _ in range(200):
        ranking.advance(values(0, *(0.5 + 0.006 * rng.standard_normal(3))), FRAME_S)
        assert ranking.groups == before


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_two_seconds_after_a_change_no_strong_label_is_below_a_weak_one(
    before: list[float], after: list[float]
) -> None:
    """As it is drawn: with smoothed values."""
    smoother, ranking = Smoother(8), Ranking(SELECTION)
    ranking.sort(values(0, *before))
    smoother.order[5:] = before
    for _ in range(round(2.0 / FRAME_S)):
        smoother.add(values(0, *after))
        smoother.advance(FRAME_S)
        ranking.advance(smoother.order, FRAME_S)
    now = [values(0, *after)[column] for column in ranking.groups[0]]
    assert all(high >= low - 0.15 for high, low in pairwise(now))


def test_top_takes_the_strongest_of_all_and_shows_them_by_category() -> None:
    selection = Selection.of(TAGS, (0.5,) * 4, CONCEPTS, top=2)
    ranking = Ranking(selection)
    ranking.sort(values(0.9, 0.1, 0.2, 0.3))
    assert visible_rows(ranking.groups, OFF, selection, 20) == [DRUMS, ROCK]
    assert visible_rows(ranking.groups, OFF, selection, 1) == [ROCK]


def test_each_category_has_its_rows_whatever_is_strong() -> None:
    ranking = Ranking(SELECTION)
    ranking.sort(values(0.0, 0.1, 0.2, 0.3))
    assert visible_rows(ranking.groups, OFF, SELECTION, 2) == [DRUMS, ROCK]
    assert visible_rows(ranking.groups, OFF, SELECTION, 3) == [DRUMS, GUITAR, ROCK]
    on = np.arange(8) == HARP  # though weak
    assert visible_rows(ranking.groups, on, SELECTION, 3) == [DRUMS, HARP, ROCK]
    assert visible_rows(ranking.groups, OFF, SELECTION, 20) == [DRUMS, GUITAR, HARP, ROCK]


@pytest.mark.parametrize(("rows", "counts"), [(0, [0] * 4), (4, [1] * 4), (16, [4, 5, 3, 4]), (99, [11, 12, 4, 9])])
def test_rows_are_allotted_by_the_size_of_the_categories(rows: int, counts: list[int]) -> None:
    assert allot_rows([11, 12, 4, 9], rows) == counts
