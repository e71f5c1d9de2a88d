"""Bytes go in cut anywhere, samples come out at their positions, and the stream gets ready once there are enough."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from streamtag.audio.pcm import PcmFormat
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.ingest_buffer import IngestBuffer, RealtimeDetector, RunState
from streamtag.scheduler.pcm_queue import FormatChange, MissingAudio, PcmBlock

CONFIG = SchedulerConfig()
MONO = PcmFormat(16000, "s16le", 1)


def numbered(start: int, samples: int, format: PcmFormat) -> bytes:
    """Every sample is its own number modulo 2^15, in every channel."""
    return np.repeat(np.arange(start, start + samples) % 32768, format.channels).astype("<i2").tobytes()


def test_an_idle_stream_gets_ready_once_when_there_is_enough() -> None:
    ready: list[float] = []
    buffer = IngestBuffer(MONO, CONFIG, 0.0, on_ready=ready.append)
    buffer.push(bytes(2), 0.0)
    assert buffer.state is RunState.RUNNING  # it belongs to its creator
    assert buffer.release(100, 0.0) is None
    buffer.push(bytes(2 * 98 + 1), 1.0)
    assert (ready, buffer.state) == ([], RunState.IDLE)
    buffer.push(bytes(1), 2.0)
    buffer.push(bytes(500), 3.0)
    assert (ready, buffer.state) == ([2.0], RunState.READY)
    assert buffer.release(300, 3.0) == 3.0  # there is enough already, since then
    assert buffer.release(400, 3.0) is None


def test_a_request_makes_the_stream_ready_and_is_not_lost_while_it_runs() -> None:
    ready: list[float] = []
    buffer = IngestBuffer(MONO, CONFIG, 0.0, on_ready=ready.append)
    assert buffer.release(100, 0.0) is None
    buffer.request_worker(1.0)
    buffer.request_worker(2.0)
    assert ready == [1.0]
    assert buffer.release(100, 5.0) == 5.0
    assert buffer.release(100, 6.0) is None
    buffer.end_input(7.0)
    assert ready == [1.0, 7.0]
    assert buffer.release(100, 8.0) == 8.0


def test_a_stream_that_has_ended_stays_so() -> None:
    ready: list[float] = []
    buffer = IngestBuffer(MONO, CONFIG, 0.0, on_ready=ready.append)
    buffer.finish()
    assert buffer.push(bytes(1000), 1.0)
    assert buffer.release(1, 1.0) is None
    buffer.request_worker(1.0)
    assert (ready, buffer.waiting_s, buffer.state) == ([], 0.0, RunState.ENDED)


def test_a_part_of_a_message_was_recorded_before_its_end() -> None:
    buffer = IngestBuffer(MONO, CONFIG, 0.0)
    buffer.push(bytes(2 * 16000), 10.0)
    block = buffer.read(4000)
    assert isinstance(block, PcmBlock)
    assert (block.arrival, block.recorded) == (10.0, 9.25)


@pytest.mark.parametrize("threads", [1, 4])
def test_no_push_is_missed_by_a_worker_that_releases_the_stream(threads: int) -> None:
    """Pushes and a worker at the same time: the second sees the first, so that in the end all is read."""
    ready, read, each = threading.Semaphore(0), 0, 3000
    config = SchedulerConfig(buffer_s=1000)
    buffer = IngestBuffer(MONO, config, 0.0, on_ready=lambda _: ready.release())

    def push() -> None:
        for _ in range(each):
            buffer.push(bytes(2), 0.0)

    pushers = [threading.Thread(target=push) for _ in range(threads)]
    assert buffer.release(1, 0.0) is None
    for pusher in pushers:
        pusher.start()
    while read < threads * each:
        assert ready.acquire(timeout=20)
        assert not ready.acquire(blocking=False)  # it never gets ready twice
        while True:
            while (block := buffer.read(7)) is not None:
                assert isinstance(block, PcmBlock)
                read += block.samples
            if buffer.release(min(5, threads * each - read) or 1, 0.0) is None:
                break
    for pusher in pushers:
        pusher.join(20)
    assert buffer.position == read


class Producer(RuleBasedStateMachine):
    """Pushes, disconnects and returns at random, while a worker reads at random: every sample has its position."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = 0
        self.buffer = IngestBuffer(MONO, SchedulerConfig(buffer_s=1e4), 0.0, on_ready=self.count_ready)
        self.buffer.release(1, 0.0)
        self.needed = 1
        self.next = 0  # sample that the producer sends next
        self.known = 0  # first sample that the buffer has not seen
        self.partial = b""  # of a sample that was cut
        self.position = 0  # of what the worker reads next

    def count_ready(self, now: float) -> None:
        del now
        assert self.buffer.state is RunState.READY
        self.ready += 1

    @rule(samples=st.integers(0, 400), cut=st.integers(0, 3))
    def push(self, samples: int, cut: int) -> None:
        data = self.partial + numbered(self.next, samples, MONO)
        cut = min(cut, len(data))
        self.buffer.push(data[: len(data) - cut], 0.0)
        self.partial = data[len(data) - cut :]
        self.next += samples
        self.known = max(self.known, self.buffer.position)

    @rule(again=st.integers(0, 500), lost=st.integers(0, 500), counts=st.booleans(), gone_s=st.floats(0, 0.1))
    def resume(self, again: int, lost: int, counts: bool, gone_s: float) -> None:
        self.partial = b""
        position = max(0, self.known - again) + lost
        self.buffer.resume(MONO, position if counts else None, gone_s, 0.0)
        self.next = position if counts else self.known + round(gone_s * MONO.rate)
        assert self.buffer.position == self.next
        self.known = max(self.known, self.next)

    @precondition(lambda self: self.buffer.state is not RunState.IDLE)
    @rule(samples=st.integers(1, 600))
    def read(self, samples: int) -> None:
        assert self.buffer.read_position == self.position
        item = self.buffer.read(samples)
        if isinstance(item, PcmBlock):
            assert 0 < item.samples <= samples
            numbers = np.frombuffer(item.data, "<i2")
            assert (numbers == np.arange(self.position, self.position + item.samples) % 32768).all()
            self.position += item.samples
        elif isinstance(item, MissingAudio):
            assert item.samples > 0
            self.position += item.samples
        assert not isinstance(item, FormatChange)

    @precondition(lambda self: self.buffer.state is not RunState.IDLE)
    @rule(samples=st.integers(1, 600))
    def release(self, samples: int) -> None:
        self.ready, self.needed = 0, samples
        is_idle = self.buffer.release(samples, 0.0) is None
        assert is_idle == (self.buffer.state is RunState.IDLE)

    @invariant()
    def every_sample_is_accounted_for(self) -> None:
        assert self.ready <= 1
        assert self.position + self.buffer.waiting_s * MONO.rate <= self.known + 1e-6
        if self.buffer.state is RunState.IDLE:
            assert self.known - self.position < self.needed

    def teardown(self) -> None:
        while self.position < self.known:
            self.read(1000)
        assert self.buffer.read(1) is None


def test_random_producers_and_workers() -> None:
    run_state_machine_as_test(Producer, settings=settings(max_examples=100, stateful_step_count=40))


def push_for(detector: RealtimeDetector, now: float, seconds: float, speed: float, chunk_s: float = 0.1) -> float:
    """Push in chunks and return the time afterwards."""
    for _ in range(round(seconds / chunk_s)):
        now += chunk_s
        detector.add(speed * chunk_s, now)
    return now


@pytest.mark.parametrize("chunk_s", [0.1, 1.0])
@pytest.mark.parametrize(("speed", "is_live"), [(0.5, True), (1.0, True), (1.05, True), (1.3, False), (50.0, False)])
def test_a_producer_that_is_faster_than_the_clock_is_not_live(speed: float, is_live: bool, chunk_s: float) -> None:
    detector = RealtimeDetector(1.0, 4.0, 0.0)
    push_for(detector, 0.0, 60, speed, chunk_s)
    assert detector.is_live is is_live


def test_a_producer_may_catch_up_after_an_interruption() -> None:
    detector = RealtimeDetector(1.0, 4.0, 0.0)
    now = push_for(detector, 0.0, 10, 1.0)
    detector.add(4.0, now + 4.0)
    assert detector.is_live
    returned = RealtimeDetector(1.0, 4.0, 100.0, behind_s=3.0)
    returned.add(3.5, 100.0)
    assert returned.is_live
    new = RealtimeDetector(1.0, 4.0, 100.0)  # the control: one that was not behind is ahead
    new.add(3.5, 100.0)
    assert not new.is_live
    push_for(new, 100.0, 15, 1.0)  # and is live again after a while
    assert new.is_live


def test_a_pause_on_request_does_not_make_a_file_live() -> None:
    """Processed at half the clock's speed, it is still a file."""
    detector, now = RealtimeDetector(1.0, 4.0, 0.0), 0.0
    for _ in range(20):
        detector.add(4.0, now)
        assert not detector.is_live
        detector.pause()
        now += 8.0
        detector.resume(now)
