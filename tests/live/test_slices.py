"""Slices that grow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtag.live.resample import SAMPLE_RATE
from streamtag.live.slices import FIRST_S, LARGEST_S, in_slices


def chunks_of(sizes: list[int]) -> list[NDArray[np.float32]]:
    return np.split(np.arange(sum(sizes), dtype=np.float32), np.cumsum(sizes)[:-1]) if sizes else []


@given(st.lists(st.integers(1, SAMPLE_RATE), max_size=100))
def test_no_sample_is_lost_or_moved(sizes: list[int]) -> None:
    slices = list(in_slices(chunks_of(sizes)))
    joined = np.concatenate([*slices, np.zeros(0, np.float32)])
    np.testing.assert_array_equal(joined, np.arange(sum(sizes)))


def test_slices_grow_from_small_to_bounded() -> None:
    lengths = [len(s) / SAMPLE_RATE for s in in_slices(chunks_of([4000] * 1200))]
    assert lengths[0] == FIRST_S
    assert max(lengths) <= LARGEST_S + 0.25
    assert sorted(lengths[:-1]) == lengths[:-1]


def test_the_first_slice_needs_no_more_than_its_chunks() -> None:
    taken = 0

    def chunks() -> Iterator[NDArray[np.float32]]:
        nonlocal taken
        while True:
            taken += 1
            yield np.zeros(SAMPLE_RATE // 4, np.float32)

    next(in_slices(chunks()))
    assert taken == 4
