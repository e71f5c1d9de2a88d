"""Calm bars, in the characters that the terminal has."""

from __future__ import annotations

import numpy as np
import pytest

from streamtag.terminal.bars import FINE, PLAIN, Glyphs, Smoother, bar, strokes_for


def test_bars_follow_the_sound_and_stay_between_their_ends() -> None:
    smoothed = Smoother(1)
    for _ in range(50):
        smoothed.add(np.array([1.0]))
    smoothed.look(0.1)
    early = float(smoothed.bars[0])
    smoothed.look(2.0)
    assert 0 < early < float(smoothed.bars[0]) <= 1
    assert smoothed.order[0] < smoothed.bars[0]  # the order is calmer


def test_a_look_shows_the_mean_of_all_frames_since_the_last() -> None:
    smoothed = Smoother(1)
    for value in (0.0, 1.0, 1.0, 0.0):
        smoothed.add(np.array([value]))
    smoothed.look(1e9)
    assert smoothed.bars[0] == pytest.approx(0.5)


@pytest.mark.parametrize("strokes", [FINE, PLAIN])
@pytest.mark.parametrize("value", [-1.0, 0.0, 0.01, 0.5, 0.999, 1.0, 2.0])
def test_bars_are_as_wide_as_they_should_be(value: float, strokes: Glyphs) -> None:
    text = bar(value, 0.3, 20, strokes)
    assert len(text.plain) == 20
    assert text.plain.count(strokes.parts[-1]) == pytest.approx(20 * min(1, max(0, value)), abs=1)


@pytest.mark.parametrize("strokes", [FINE, PLAIN])
def test_a_threshold_is_marked_while_the_bar_is_below_it(strokes: Glyphs) -> None:
    assert bar(0.1, 0.5, 20, strokes).plain.index(strokes.mark) == 10
    assert strokes.mark not in bar(0.9, 0.5, 20, strokes).plain


def test_a_terminal_without_blocks_gets_ascii() -> None:
    assert strokes_for("utf-8") is FINE
    for encoding in ("ascii", "latin-1", None, "no such encoding"):
        assert strokes_for(encoding) is PLAIN
    assert "".join([PLAIN.parts, PLAIN.mark, PLAIN.courses, PLAIN.done, PLAIN.rest, PLAIN.dot]).isascii()
