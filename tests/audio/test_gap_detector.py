"""Losses that the device does not report are found by the clock; what is only late is not taken for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtag.audio.gap_detector import MAX_HOLD_S, MIN_LATE_S, GapDetector
from streamtag.audio.ring import Block

RATE, SIZE = 48000, 480  # blocks of 10 ms


class Device:
    """Makes blocks that know their true place, and when they come. now, made: the clock, and samples made so far."""

    def __init__(self, drift: float = 0.0, seed: int = 0) -> None:
        """drift: how much faster its samples come than they should."""
        self.now = 1000.0
        self.made = 0
        self._drift = drift
        self._random = np.random.default_rng(seed)

    def blocks(self, seconds: float, burst: int = 1, jitter_s: float = 0.002, flag: bool = False) -> Iterator[Block]:
        """In time, `burst` of them together. flag: the first says that something was lost."""
        for number in range(round(seconds * RATE / SIZE)):
            self.now += SIZE / RATE / (1 + self._drift)
            arrival_time = self.now + (-(number + 1) % burst) * SIZE / RATE + self._random.uniform(0, jitter_s)
            yield self._block(arrival_time, flag and number == 0)

    def lose(self, seconds: float) -> None:
        self.now += seconds
        self.made += round(seconds * RATE)

    def late(self, seconds: float, pace: float = 50.0) -> Iterator[Block]:
        """Nothing comes for so long, then what was due, so many times as fast as it should."""
        self.now += seconds
        arrival_time, due = self.now, round(seconds * RATE / SIZE)
        while due > 0:
            arrival_time += SIZE / RATE / pace
            yield self._block(arrival_time)
            due -= 1
            while arrival_time > self.now + SIZE / RATE:  # what is made while it catches up
                self.now += SIZE / RATE
                due += 1

    def _block(self, arrival_time: float, flagged: bool = False) -> Block:
        place = np.arange(self.made, self.made + SIZE, dtype=np.float32)
        self.made += SIZE
        return Block(place[:, np.newaxis], arrival_time, flagged=flagged)


def clear(detector: GapDetector, blocks: Iterable[Block]) -> list[Block]:
    return [block for raw in blocks for block in detector.feed(raw)]


def losses(blocks: Iterable[Block]) -> list[tuple[float, float]]:
    """-> where they are in the stream as it was made known, and their length, s."""
    found, position = [], 0
    for block in blocks:
        if block.lost:
            found.append((position / RATE, block.lost / RATE))
        position += block.lost + len(block.samples)
    return found


@pytest.mark.parametrize("burst", [1, 2, 4, 8])
def test_blocks_of_a_device_that_keeps_time_are_passed_on_at_once(burst: int) -> None:
    device, detector = Device(), GapDetector(RATE)
    for block in device.blocks(5, burst):
        assert detector.feed(block) == [block]
    assert detector.losses == 0


@pytest.mark.parametrize("drift", [-1e-3, 1e-3])
def test_a_sound_card_whose_clock_is_a_little_off_loses_nothing(drift: float) -> None:
    """1000 ppm, worse than any real one, are 0.36 s after six minutes: more than would count as late."""
    device, detector = Device(drift), GapDetector(RATE)
    assert losses(clear(detector, device.blocks(360))) == []
    assert 360 * abs(drift) > 3 * MIN_LATE_S


def test_an_unreported_loss_is_found_in_its_place_and_to_a_few_milliseconds() -> None:
    device, detector = Device(), GapDetector(RATE)
    blocks = clear(detector, device.blocks(3))
    blocks += clear(detector, device.late(2))
    there = device.made / RATE
    device.lose(6.5)
    blocks += clear(detector, device.blocks(3))
    ((place, length),) = losses(blocks)
    assert place == pytest.approx(there, abs=0.02)
    assert length == pytest.approx(6.5, abs=0.005)
    assert detector.losses == 1


@pytest.mark.parametrize("lost_s", [0.0, 0.01, 0.04, 0.5, 3.0])
def test_a_flagged_loss_is_counted_and_measured_however_short(lost_s: float) -> None:
    device, detector = Device(), GapDetector(RATE)
    blocks = clear(detector, device.blocks(3, burst=2, jitter_s=0.001))
    device.lose(lost_s)
    blocks += clear(detector, device.blocks(3, burst=2, jitter_s=0.001, flag=True))
    found = losses(blocks)
    assert [place for place, _ in found] == pytest.approx([3] if lost_s else [])  # before the block that was flagged
    assert [length for _, length in found] == pytest.approx([lost_s] if lost_s else [], abs=0.003)
    assert detector.losses == 1


def test_a_loss_that_the_ring_reported_is_not_found_again() -> None:
    device, detector = Device(), GapDetector(RATE)
    blocks = clear(detector, device.blocks(3))
    device.lose(2)
    first, *rest = device.blocks(3)
    blocks += clear(detector, [Block(first.samples, first.arrival_time, lost=2 * RATE), *rest])
    ((place, length),) = losses(blocks)
    assert place == pytest.approx(3)
    assert length == 2
    assert detector.losses == 0  # of its own finding


def test_small_changes_of_the_delay_are_no_loss() -> None:
    """As when a sound server changes its buffers: below what counts as late."""
    device, detector = Device(), GapDetector(RATE)
    for step_s in (0.06, 0.06, -0.1, 0.06):
        device.now += step_s
        assert losses(clear(detector, device.blocks(4))) == []


def test_a_device_that_catches_up_slowly_holds_blocks_back_for_a_limited_time() -> None:
    device, detector = Device(), GapDetector(RATE)
    blocks = clear(detector, device.blocks(2))
    waits = []
    for raw in device.late(6, pace=1.3):
        out = detector.feed(raw)
        waits += [raw.arrival_time - block.arrival_time for block in out]
        blocks += out
    blocks += clear(detector, device.blocks(2))
    assert losses(blocks) == []
    assert max(waits) <= MAX_HOLD_S + 0.02


def test_a_loss_after_a_flagged_device_caught_up_slowly_is_found_too() -> None:
    device, detector = Device(), GapDetector(RATE)
    blocks = clear(detector, device.blocks(2))
    flagged, *late = device.late(6, pace=1.3)
    blocks += clear(detector, [replace(flagged, flagged=True), *late])
    device.lose(1)
    blocks += clear(detector, device.blocks(3))
    ((_, length),) = losses(blocks)
    assert length == pytest.approx(1, abs=0.02)
    assert detector.losses == 2


def test_held_blocks_are_returned_when_the_device_goes() -> None:
    device, detector = Device(), GapDetector(RATE)
    clear(detector, device.blocks(2))
    device.lose(1)
    raw = list(device.blocks(0.1))
    assert clear(detector, raw) == []
    held = detector.flush()
    assert [block.arrival_time for block in held] == [block.arrival_time for block in raw]
    ((place, length),) = losses(held)
    assert place == 0  # before the first of them
    assert length == pytest.approx(1, abs=0.005)
    assert detector.flush() == []


@settings(max_examples=60)
@given(
    seed=st.integers(0, 99),
    burst=st.sampled_from([1, 2, 4]),
    story=st.lists(
        st.one_of(
            st.tuples(st.just("late"), st.floats(0.02, 4)),
            st.tuples(st.just("lose"), st.floats(0.15, 4)),
            st.tuples(st.just("flagged"), st.floats(0.0, 0.5)),
        ),
        max_size=6,
    ),
)
def test_time_stays_true_and_no_block_goes_missing(seed: int, burst: int, story: list[tuple[str, float]]) -> None:
    device, detector = Device(seed=seed), GapDetector(RATE)
    raw = list(device.blocks(2, burst))
    for what, seconds in story:
        if what == "late":
            raw += device.late(seconds)
        else:
            device.lose(seconds)
        raw += device.blocks(2, burst, flag=what == "flagged")
    blocks = clear(detector, raw) + detector.flush()
    assert [block.samples[0, 0] for block in blocks] == [block.samples[0, 0] for block in raw]
    end = sum(block.lost + len(block.samples) for block in blocks)
    assert end / RATE == pytest.approx(device.made / RATE, abs=0.004 * (1 + len(story)))
