"""Bytes go in cut anywhere, samples come out in their places, and somebody comes exactly once when there is enough."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.ingest_buffer import IngestBuffer
from streamtag.scheduler.pcm_format import PcmFormat
from streamtag.scheduler.pcm_queue import FormatChange, MissingAudio, Sound

SPEC = SchedulerConfig()
MONO, STEREO = PcmFormat(16000, "s16le", 1), PcmFormat(48000, "s16le", 2)


def numbered(start: int, samples: int, format: PcmFormat) -> bytes:
    """Every sample is its own number, in every channel, but for what does not fit into 15 bits."""
    return np.repeat(np.arange(start, start + samples) % 32768, format.channels).astype("<i2").tobytes()


def numbers(sound: Sound) -> list[int]:
    return [int(number) for number in np.frombuffer(sound.data, "<i2")[:: sound.format.channels]]


def test_it_fires_once_when_enough_is_there() -> None:
    inlet = IngestBuffer(MONO, SPEC, 0.0)
    assert inlet.rest(100, 0.0) is None
    assert inlet.push(bytes(2 * 99 + 1), 1.0) == (True, False)
    assert inlet.push(bytes(1), 2.0) == (True, True)
    assert inlet.push(bytes(500), 3.0) == (True, False)  # a worker is on its way
    assert inlet.rest(300, 3.0) == 3.0  # there is enough already, since then
    assert inlet.rest(400, 3.0) is None


def test_it_fires_when_rung_and_a_ring_in_between_is_not_lost() -> None:
    inlet = IngestBuffer(MONO, SPEC, 0.0)
    assert inlet.rest(100, 0.0) is None
    assert inlet.ring()
    assert not inlet.ring()
    assert inlet.rest(100, 5.0) == 5.0
    assert inlet.rest(100, 6.0) is None
    assert inlet.end()
    assert inlet.rest(100, 7.0) == 7.0


def test_a_sample_that_is_cut_waits_for_its_rest() -> None:
    inlet = IngestBuffer(STEREO, SPEC, 0.0)
    data = numbered(0, 50, STEREO)
    for byte in data[:-1]:
        inlet.push(bytes([byte]), 0.0)
    assert inlet.position == 49
    sound = inlet.take(1000)
    assert isinstance(sound, Sound)
    assert numbers(sound) == list(range(49))
    inlet.push(data[-1:], 0.0)
    sound = inlet.take(1000)
    assert isinstance(sound, Sound)
    assert numbers(sound) == [49]
    assert inlet.take(1000) is None


def test_when_a_part_of_a_chunk_was_made_is_reckoned_back() -> None:
    inlet = IngestBuffer(MONO, SPEC, 0.0)
    inlet.push(bytes(2 * 16000), 10.0)
    sound = inlet.take(4000)
    assert isinstance(sound, Sound)
    assert (sound.arrived, sound.made) == (10.0, 9.25)


@pytest.mark.parametrize("threads", [1, 4])
def test_no_push_is_missed_by_a_worker_that_goes_to_rest(threads: int) -> None:
    """Pushes and a worker at the same time: whoever is second sees the other, so that in the end all is taken."""
    inlet = IngestBuffer(PcmFormat(16000, "s16le", 1), SchedulerConfig(buffer_s=1000), 0.0)
    fired, taken, each = threading.Semaphore(0), 0, 3000

    def push() -> None:
        for _ in range(each):
            if inlet.push(bytes(2), 0.0)[1]:
                fired.release()

    pushers = [threading.Thread(target=push) for _ in range(threads)]
    assert inlet.rest(1, 0.0) is None
    for pusher in pushers:
        pusher.start()
    while taken < threads * each:
        assert fired.acquire(timeout=20)
        assert not fired.acquire(blocking=False)  # it never fires twice
        while True:
            while (sound := inlet.take(7)) is not None:
                assert isinstance(sound, Sound)
                taken += sound.samples
            if inlet.rest(min(5, threads * each - taken) or 1, 0.0) is None:
                break
    for pusher in pushers:
        pusher.join(20)
    assert inlet.position == taken


class Producer(RuleBasedStateMachine):
    """Pushes, breaks off and comes back at random, and a worker takes at random: every sample has its place."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.format = MONO
        self.inlet = IngestBuffer(MONO, SchedulerConfig(buffer_s=1e4), self.now)
        self.inlet.rest(1, 0.0)
        self.next = 0  # number of the sample that the producer sends next
        self.left = b""  # of a sample that was cut
        self.place = 0  # of what the worker takes next
        self.owed = [0]  # numbers that were heard of: from 0 up to these, at the format's rate
        self.heard: set[int] = set()
        self.asleep = True

    @rule(samples=st.integers(0, 400), cut=st.integers(0, 3))
    def push(self, samples: int, cut: int) -> None:
        data = self.left + numbered(self.next, samples, self.format)
        cut = min(cut, len(data))
        fired = self.inlet.push(data[: len(data) - cut], self.now)[1]
        self.left = data[len(data) - cut :]
        self.next += samples
        assert not (fired and not self.asleep)
        self.asleep = self.asleep and not fired

    @rule(again=st.integers(0, 500), lost=st.integers(0, 500), counts=st.booleans(), gone_s=st.floats(0, 0.1))
    def come_back(self, again: int, lost: int, counts: bool, gone_s: float) -> None:
        self.left = b""
        expected = self.inlet.position + self.inlet._overlap
        position = max(0, expected - again) + lost
        fired = self.inlet.come_back(self.format, position if counts else None, gone_s, self.now)
        self.next = position if counts else expected + round(gone_s * self.format.rate)
        assert self.inlet.position == self.next
        assert not (fired and not self.asleep)
        self.asleep = self.asleep and not fired

    @precondition(lambda self: not self.asleep)
    @rule(samples=st.integers(1, 600))
    def take(self, samples: int) -> None:
        assert self.inlet.taken == self.place
        item = self.inlet.take(samples)
        if isinstance(item, Sound):
            assert 0 < item.samples <= samples
            assert numbers(item) == [(self.place + n) % 32768 for n in range(item.samples)]
            self.place += item.samples
        elif isinstance(item, MissingAudio):
            assert item.samples > 0
            self.place += item.samples
        assert not isinstance(item, FormatChange)

    @rule(samples=st.integers(1, 600))
    def rest(self, samples: int) -> None:
        if not self.asleep:
            self.asleep = self.inlet.rest(samples, self.now) is None

    @invariant()
    def every_sample_is_accounted_for(self) -> None:
        waiting = self.inlet._backlog
        missing = sum(item.samples for item in waiting._items if isinstance(item, MissingAudio))
        assert self.inlet.position + self.inlet._overlap == self.place + waiting.samples + missing
        assert waiting.bytes == waiting.samples * self.format.sample_bytes
        if self.asleep:
            assert self.inlet._armed is not None
            assert waiting.samples < self.inlet._armed
            assert not waiting.special


def test_random_producers_and_workers() -> None:
    run_state_machine_as_test(Producer, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


def test_what_is_thrown_away_is_counted() -> None:
    inlet = IngestBuffer(MONO, SchedulerConfig(), 0.0)
    block = 16000
    for number in range(60):
        inlet.push(numbered(number * block, block, MONO), float(number) / 1000)
    place, thrown = 0, 0
    while (item := inlet.take(1000)) is not None:
        if isinstance(item, MissingAudio):
            assert item.thrown
            thrown += item.samples
        else:
            assert isinstance(item, Sound)
            assert numbers(item)[0] == place % 32768
        place += item.samples
    assert place == 60 * block == inlet.taken
    assert thrown > 20 * block
