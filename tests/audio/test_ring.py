"""The ring: what is written is read, in order, and what did not fit is reported with its length."""

from __future__ import annotations

import threading
import tracemalloc
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtag.audio.ring import Ring
from streamtag.errors import SpecError


def ramp(start: int, length: int, channels: int = 1) -> NDArray[np.float32]:
    """[length, channels] each sample says where it belongs; channel c adds c/2."""
    place = np.arange(start, start + length, dtype=np.float32)
    return place[:, np.newaxis] + np.arange(channels, dtype=np.float32) / np.float32(2)


def test_a_block_is_a_copy_of_its_slot() -> None:
    times = iter((5.0, 6.0))
    ring = Ring(1, 3, 1, clock=lambda: next(times))
    ring.write(ramp(0, 3))
    first = ring.read()
    ring.write(ramp(3, 3))
    assert first is not None
    np.testing.assert_array_equal(first.samples, ramp(0, 3))
    assert first.arrival_time == 5.0


@pytest.mark.parametrize("shape", [(0, 3, 1), (2, 0, 1), (2, 3, 0), (-1, 3, 1)])
def test_a_ring_without_room_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(SpecError, match="must have"):
        Ring(*shape)


@settings(max_examples=100)
@given(
    slots=st.integers(1, 5),
    frames=st.integers(1, 4),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(0, 9)),
            st.tuples(st.just("read"), st.just(0)),
        ),
        max_size=60,
    ),
)
def test_every_sample_is_read_once_in_its_place_or_reported_as_lost(
    slots: int, frames: int, steps: list[tuple[str, int]]
) -> None:
    ring = Ring(slots, frames, 1)
    position = read = 0
    model: deque[int] = deque()  # lengths of waiting blocks
    for step, length in steps:
        if step == "write":
            ring.write(ramp(position, length))
            position += length
            left = length
            while left and len(model) < slots:
                model.append(min(left, frames))
                left -= model[-1]
        elif (block := ring.read()) is None:
            assert not model
        else:
            read += block.lost
            np.testing.assert_array_equal(block.samples, ramp(read, len(block.samples)))
            read += len(block.samples)
            assert len(block.samples) == model.popleft()
        assert len(ring) == len(model)
    while (block := ring.read()) is not None:
        read += block.lost + len(block.samples)
    ring.write(ramp(position, 1))  # only with a block can the loss before it be reported
    last = ring.read()
    assert last is not None
    assert read + last.lost == position


@pytest.mark.parametrize("slots", [2, 64])
def test_two_threads_agree_on_every_sample(slots: int) -> None:
    """The writer never waits; whatever the reader misses is reported, and nothing is torn."""
    ring = Ring(slots, 16, 2)
    total, position, torn = 60_000, 0, False
    done = threading.Event()

    def write() -> None:
        sizes = np.random.default_rng(5).integers(1, 17, 20_000)
        start = 0
        for size in map(int, sizes):
            if start >= total:
                break
            ring.write(ramp(start, size, 2))
            start += size
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while True:
        ended = done.is_set()
        block = ring.read()
        if block is None:
            if ended:
                break
            continue
        position += block.lost
        torn |= not np.array_equal(block.samples, ramp(position, len(block.samples), 2))
        position += len(block.samples)
    writer.join()
    assert not torn
    ring.write(ramp(0, 1, 2))
    last = ring.read()
    assert last is not None
    assert total <= position + last.lost < total + 16


def test_writing_allocates_nothing_that_stays() -> None:
    ring = Ring(16, 480, 2)
    indata = ramp(0, 480, 2)
    for _ in range(100):  # the numbers of a first round
        ring.write(indata)
        ring.read()
    tracemalloc.start()
    try:
        for _ in range(2000):
            ring.write(indata)  # into a full ring for the most part
        size, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 4096
    assert peak < indata.nbytes  # not even for a moment: no copy of a block was made
    assert ring.is_full
