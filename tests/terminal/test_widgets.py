"""Bars, sparklines, smoothing and courses."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from streamtag.terminal.widgets import (
    ASCII,
    COURSE_CELLS,
    FRAMES_PER_CELL,
    OFF_STYLE,
    ON_STYLE,
    UNICODE,
    CourseCells,
    Glyphs,
    Smoother,
    bar,
    can_draw,
    glyphs_for,
    sparkline,
)


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_bars_have_their_width_and_a_mark_at_a_threshold_above_them(glyphs: Glyphs) -> None:
    for value in (-1.0, 0.0, 0.01, 0.5, 0.999, 1.0, 2.0):
        text = bar(value, 0.3, 20, value >= 0.3, glyphs).plain
        assert len(text) == 20
        assert text.count(glyphs.fill[-1]) == pytest.approx(20 * min(1, max(0, value)), abs=1)
    assert bar(0.1, 0.5, 20, False, glyphs).plain.index(glyphs.mark) == 10
    assert glyphs.mark not in bar(0.9, 0.5, 20, True, glyphs).plain


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_a_sparkline_rises_from_the_lowest_to_the_tallest_character(glyphs: Glyphs) -> None:
    assert sparkline(np.linspace(0, 1, 8), np.ones(8, bool), 0.5, glyphs).plain == glyphs.heights
    assert sparkline(np.zeros(2), np.ones(2, bool), 0.0, glyphs).plain == glyphs.heights[0] * 2


def test_a_weak_tag_never_looks_like_a_strong_one() -> None:
    assert sparkline(np.full(3, 0.25), np.zeros(3, bool), 0.5).plain == UNICODE.heights[4] * 3
    assert (
        sparkline(np.full(3, 0.25), np.ones(3, bool), 0.1).plain == UNICODE.heights[-1] * 3
    )  # above its own threshold


def test_unknown_values_are_blank_and_what_is_on_is_coloured() -> None:
    text = sparkline(np.array([0.8, np.nan, 0.2]), np.array([False, True, True]), 0.5)
    assert text.plain[1] == " "
    assert [span.style for span in text.spans] == [OFF_STYLE, OFF_STYLE, ON_STYLE]


def test_a_terminal_without_block_characters_gets_ascii() -> None:
    assert glyphs_for("utf-8") is UNICODE
    for encoding in ("ascii", "latin-1", None, "no such encoding"):
        assert glyphs_for(encoding) is ASCII
    assert "".join([ASCII.fill, ASCII.mark, ASCII.heights, ASCII.done, ASCII.remaining, ASCII.dot]).isascii()


@pytest.mark.parametrize(("term", "able"), [("xterm-256color", True), ("dumb", False)])
def test_only_a_real_terminal_is_drawn_on(term: str, able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    assert can_draw(Console(file=io.StringIO(), force_terminal=True)) is able
    assert not can_draw(Console(file=io.StringIO(), force_terminal=False))


def test_smoothed_bars_approach_the_frames_and_their_order_does_so_more_slowly() -> None:
    smoother = Smoother(1)
    for _ in range(50):
        smoother.add(np.array([1.0]))
    smoother.advance(0.1)
    early = float(smoother.bars[0])
    smoother.advance(2.0)
    assert 0 < early < float(smoother.bars[0]) <= 1
    assert smoother.order[0] < smoother.bars[0]


def test_smoothed_bars_show_the_mean_of_all_frames_since_the_last_drawing() -> None:
    smoother = Smoother(1)
    for value in (0.0, 1.0, 1.0, 0.0):
        smoother.add(np.array([value]))
    smoother.advance(1e9)
    assert smoother.bars[0] == pytest.approx(0.5)


def test_the_cells_of_a_course_hold_the_means_of_their_frames_the_newest_last() -> None:
    history = CourseCells(1)
    for number in range(2 * FRAMES_PER_CELL + 1):
        history.add(number, np.array([float(number)]))
    cells = history.cells[:, 0]
    assert np.isnan(cells[:-3]).all()
    assert cells[-3:].tolist() == [0.5, 2.5, 4.0]
    history.add(5, np.array([0.0]))
    assert cells[-1] == 4.0  # a copy


def test_a_course_is_blank_where_audio_was_lost_and_before_a_stream_that_begins_anew() -> None:
    history = CourseCells(2)
    history.add(0, np.array([0.1, 0.2]))
    history.add(4 * FRAMES_PER_CELL, np.array([0.3, 0.4]))
    assert np.isnan(history.cells[-4:-1]).all()
    assert history.cells[[-5, -1]].tolist() == [[0.1, 0.2], [0.3, 0.4]]
    history.add(0, np.array([0.5, 0.6]))
    assert np.isnan(history.cells[:-1]).all()
    assert history.cells[-1].tolist() == [0.5, 0.6]


@given(st.lists(st.integers(0, 10**9), max_size=40))
def test_a_course_keeps_its_size_for_any_frame_numbers(numbers: list[int]) -> None:
    history = CourseCells(3)
    for number in numbers:
        history.add(number, np.full(3, 0.5))
    assert history.cells.shape == (COURSE_CELLS, 3)
    assert np.isnan(history.cells[-1]).all() == (not numbers)
