"""The last seconds of every tag."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamtag.terminal.history import CELLS, FRAMES, History


def test_cells_hold_the_means_of_their_frames_the_newest_last() -> None:
    history = History(1)
    for number in range(2 * FRAMES + 1):
        history.add(number, np.array([float(number)]))
    cells = history.cells[:, 0]
    assert np.isnan(cells[:-3]).all()
    assert cells[-3:].tolist() == [0.5, 2.5, 4.0]


def test_where_sound_was_lost_nothing_is_shown() -> None:
    history = History(2)
    history.add(0, np.array([0.1, 0.2]))
    history.add(4 * FRAMES, np.array([0.3, 0.4]))
    assert np.isnan(history.cells[-4:-1]).all()
    assert history.cells[-5].tolist() == [0.1, 0.2]
    assert history.cells[-1].tolist() == [0.3, 0.4]


def test_a_stream_that_begins_anew_leaves_nothing_of_the_old() -> None:
    history = History(1)
    for number in range(100):
        history.add(number, np.array([0.9]))
    assert not np.isnan(history.cells).any()
    history.add(0, np.array([0.1]))
    assert np.isnan(history.cells[:-1]).all()
    assert history.cells[-1, 0] == 0.1


def test_what_is_read_does_not_change_later() -> None:
    history = History(1)
    history.add(0, np.array([0.5]))
    cells = history.cells
    history.add(1, np.array([0.1]))
    assert cells[-1, 0] == 0.5


@given(st.lists(st.integers(0, 10**9), max_size=40))
def test_any_numbers_keep_its_size(numbers: list[int]) -> None:
    history = History(3)
    for number in numbers:
        history.add(number, np.full(3, 0.5))
    assert history.cells.shape == (CELLS, 3)
    assert np.isnan(history.cells[-1]).all() == (not numbers)
