"""How many streams there is room for, and which of them are processed next."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from streamtag.errors import SpecError
from streamtag.scheduler.capacity import COST_MARGIN, CapacityMeasurement, Cost, LoadMonitor
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.ready_queue import ReadyQueue
from streamtag.scheduler.scheduler import Scheduler
from streamtag.scheduler.stats import Busy
from streamtag.scheduler.stream import ScheduledStream
from streamtag.spec import ScatteringSpec
from tests.scheduler.harness import PLAIN, TIMEOUT_S, EchoPool, Harness, MessageLog, load_tagger, music

COST = Cost(step_s=0.004, stream_s=0.0006)
HOP_S = 0.256


class Machine:
    """A program on two cores whose CPU time is that of its steps."""

    def __init__(self, cost: Cost | None = COST, slots: int = 1000) -> None:
        self.now = self.cpu_s = 0.0
        self.monitor = LoadMonitor(SchedulerConfig(cores=2), HOP_S, slots, self.now, lambda: self.cpu_s)
        if cost is not None:
            self.monitor.set_cost(cost, self.now)

    def work(self, seconds: int, streams: int, factor: float, steps_per_s: int) -> None:
        """Run steps, each of which takes `factor` times the CPU time that was measured."""
        for _ in range(seconds * steps_per_s):
            self.now += 1 / steps_per_s
            self.cpu_s += factor * COST.of(streams)
            self.monitor.add_step(0, streams, 0.001, 0, self.now)


def test_capacity_follows_from_the_cost_and_the_slots_or_is_what_the_user_says() -> None:
    assert Machine().monitor.capacity == int(0.8 * HOP_S * 2 * 64 / (COST_MARGIN * 0.0424))
    assert Machine(slots=100).monitor.capacity == 100
    assert Machine(Cost(10.0, 1.0)).monitor.capacity == 1
    monitor = LoadMonitor(SchedulerConfig(max_streams=77), HOP_S, 1000, 0.0)
    assert (monitor.capacity, monitor.needs_measurement) == (77, False)


def test_few_streams_are_admitted_before_the_cost_is_known() -> None:
    monitor = Machine(cost=None).monitor
    assert (monitor.capacity, monitor.needs_measurement) == (8, True)
    few_slots = Machine(cost=None, slots=8).monitor
    assert (few_slots.capacity, few_slots.needs_measurement) == (8, False)


def test_capacity_follows_the_cpu_time_of_the_whole_program() -> None:
    machine = Machine()
    first = machine.monitor.capacity
    machine.work(100, 64, 2 * COST_MARGIN, 20)
    assert machine.monitor.capacity == pytest.approx(first / 2, abs=1)
    machine.work(100, 3, COST_MARGIN, 300)  # as measured, in small steps
    assert machine.monitor.capacity == pytest.approx(first, rel=0.05)
    machine.work(1, 1, 3, 100)  # one slow second changes little
    assert machine.monitor.capacity > 0.8 * first


def test_few_streams_do_not_change_the_capacity() -> None:
    machine = Machine()
    first = machine.monitor.capacity
    machine.work(1000, 1, 10, 5)  # the page and its readers take more CPU time than the stream
    assert machine.monitor.capacity == first
    machine.work(30, 8, 6, 30)  # both cores are full: hundreds connect, and there are a few streams so far
    assert machine.monitor.capacity == first
    machine.work(100, 32, 2 * COST_MARGIN, 30)  # the control: as many as fill the cores
    assert machine.monitor.capacity == pytest.approx(first / 2, rel=0.05)


def test_the_scheduler_is_degraded_for_a_while_after_a_miss() -> None:
    monitor = Machine().monitor
    assert not monitor.is_degraded(0.0)
    monitor.add_step(0, 5, 0.1, 1, now=10.0)
    assert monitor.is_degraded(14.9)
    assert monitor.retry_after_s(12.0) == pytest.approx(3.0)
    assert not monitor.is_degraded(15.1)
    monitor.add_step(0, 5, 0.1, 0, now=16.0)
    assert not monitor.is_degraded(16.0)


def test_one_late_hop_among_very_many_is_not_an_overload() -> None:
    monitor = Machine().monitor
    for step in range(100):
        monitor.add_step(0, 64, 0.05, step % 2, now=0.05 * step)  # 1 of 128
    assert not monitor.is_degraded(5.0)
    for step in range(100, 120):
        monitor.add_step(0, 64, 0.05, 2, now=0.05 * step)
    assert monitor.is_degraded(6.0)


def test_utilization_is_the_fraction_of_time_that_workers_work() -> None:
    monitor = LoadMonitor(SchedulerConfig(workers=2), HOP_S, 1, 0.0)
    for step in range(1, 1000):
        monitor.add_step(0, 5, 0.05, 0, now=step * 0.1)
    assert monitor.utilization(99.9) == pytest.approx(0.25, abs=0.01)
    assert monitor.utilization(200.0) < 1e-6  # nothing to do since then
    assert monitor.hop_cost_s == pytest.approx(0.01, rel=0.01)


def test_slow_steps_have_fewer_streams() -> None:
    monitor = Machine().monitor
    assert monitor.batch_size == 64
    monitor.add_step(0, 10, 0.5, 0, now=1.0)
    assert monitor.batch_size == 2


def measure(pool: EchoPool, config: SchedulerConfig) -> CapacityMeasurement:
    measurement = CapacityMeasurement(pool, config, reserved_slots=8)
    now, deadline = 0.0, 2000
    while not measurement.is_done and deadline:
        now, deadline = now + 0.01, deadline - 1
        pieces = [piece for _ in range(3) if (piece := measurement.next_piece()) is not None]
        for piece in pieces:
            piece.step()
            measurement.finish_piece(piece, now)
    assert measurement.is_done
    return measurement


def test_the_measurement_leaves_slots_free_and_returns_its_own(model: Path) -> None:
    tagger, used = load_tagger(model), []
    pool = EchoPool(tagger, 40, lambda _: used.append(len(pool)))
    measurement = measure(pool, SchedulerConfig(workers=2, measure_s=0.1))
    assert measurement.cost is not None
    assert measurement.cost.of(64) > 0
    assert max(pool.echo.steps) == 16  # of 32 slots, for two workers
    assert max(used) <= 32
    measurement.close()
    assert len(pool) == 0


def test_a_measurement_that_fails_gives_no_cost(model: Path) -> None:
    pool = EchoPool(load_tagger(model), 40)
    pool.fails_to_add = True
    measurement = measure(pool, SchedulerConfig(workers=2))
    assert measurement.cost is None
    measurement.close()
    assert len(pool) == 0


def test_live_streams_come_before_the_measurement_and_files_after_it(model: Path) -> None:
    harness = Harness(model, slots=40, config=SchedulerConfig(batch_window_s=0, measure_s=0.01))
    queue = ReadyQueue(SchedulerConfig(batch_window_s=0))
    queue.measurement = CapacityMeasurement(harness.pool, SchedulerConfig(), reserved_slots=8)
    live, file = stream("live", 1.0), stream("file", 1.0)
    file.buffer.push(bytes(4 * 16000 * 3), 1.0)
    queue.add(file, 1.0)
    queue.add(live, 1.0)
    assert queue.next_task(1.0, 64) == [live]
    assert queue.next_task(1.0, 64) is not None
    assert queue.next_task(1.0, 64) == [file]  # while another worker measures


def stream(name: str, ready_since: float, is_urgent: bool = False) -> ScheduledStream:
    class Stream(ScheduledStream):
        @property
        def is_urgent(self) -> bool:
            return is_urgent

    made = Stream(name, PLAIN, SchedulerConfig(), ScatteringSpec(), 0.0)
    made.ready_since = ready_since
    return made


def test_an_urgent_stream_does_not_hide_how_long_others_have_waited() -> None:
    """Its step comes first, but lag and batch window are those of the stream that waits longest."""
    queue = ReadyQueue(SchedulerConfig(batch_window_s=0.025))
    urgent, old = stream("urgent", 10.0, is_urgent=True), stream("old", 9.9)
    queue.add(old, 10.0)
    queue.add(urgent, 10.0)
    assert queue.lag_s(10.0) == pytest.approx(0.1)
    assert queue.wait_s(10.0) == 0.0
    assert queue.next_task(10.0, 1) == [urgent]
    assert queue.next_task(10.0, 1) == [old]


def test_a_step_waits_for_the_batch_window_or_a_full_batch() -> None:
    queue = ReadyQueue(SchedulerConfig(batch_window_s=0.025))
    first, second = stream("first", 10.0), stream("second", 10.01)
    queue.add(first, 10.0)
    assert queue.next_task(10.02, 2) is None
    assert queue.wait_s(10.02) == pytest.approx(0.005)
    queue.add(second, 10.02)
    assert queue.next_task(10.02, 3) is None
    assert queue.next_task(10.02, 2) == [first, second]


@pytest.mark.parametrize(
    "settings",
    [
        {"workers": 0},
        {"batch": 1.5},
        {"max_streams": 0},
        {"deadline_s": 0},
        {"shed_after_s": float("inf")},
        {"reconnect_grace_s": -1},
        {"batch_window_s": float("nan")},
        {"batch_window_s": 0.3},
        {"shed_after_s": 5.0},
        {"buffer_s": 0.5},
        {"headroom": 1.1},
        {"max_lead_s": -1},
        {"measure_s": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SpecError, match="SchedulerConfig"):
        SchedulerConfig(**settings)  # type: ignore[arg-type]


def test_no_more_streams_are_admitted_than_there_is_room_for(model: Path) -> None:
    harness = Harness(model, slots=8, config=SchedulerConfig(batch_window_s=0, max_streams=3))
    producers = [harness.open(str(n)) for n in range(3)]
    assert harness.scheduler.stats.room == 0
    with pytest.raises(Busy, match="busy: there is room for 3 streams") as caught:
        harness.open("3")
    assert caught.value.retry_after_s >= 1
    producers[0].disconnect()
    with pytest.raises(Busy):
        harness.open("3")  # a disconnected stream keeps its place
    harness.open("0", position=0)
    harness.end("1", producers[1])
    assert harness.scheduler.stats.room == 1
    harness.open("3")
    few_slots = Harness(model, slots=2, config=SchedulerConfig(batch_window_s=0, max_streams=100))
    assert few_slots.scheduler.stats.room == 2


def test_few_streams_are_admitted_at_once_and_more_when_the_capacity_is_measured(model: Path) -> None:
    pool, log = EchoPool(load_tagger(model), 400), MessageLog()
    config = SchedulerConfig(workers=2, measure_s=0.5)
    scheduler = Scheduler(pool, log, config)
    with scheduler:
        first = scheduler.stats
        assert (first.is_measuring, first.room) == (True, 8)
        producer, until = scheduler.open("mic", PLAIN, None, lambda: None), time.monotonic() + TIMEOUT_S
        while scheduler.stats.is_measuring or len(pool) > 1:  # it closes its streams at the end
            producer.push(music(0.05, PLAIN))
            assert time.monotonic() < until
            threading.Event().wait(0.05)
        assert 8 < scheduler.stats.capacity <= 400
    assert log.frames("mic")


def test_a_measurement_is_abandoned_when_the_scheduler_is_closed(model: Path) -> None:
    pool = EchoPool(load_tagger(model), 400)
    with Scheduler(pool, MessageLog(), SchedulerConfig(workers=2)):
        pass
    assert len(pool) == 0
