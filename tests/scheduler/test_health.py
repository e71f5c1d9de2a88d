"""How fast a producer is, how much there is room for, and how an engine is doing."""

from __future__ import annotations

import pytest

from streamtag.errors import SpecError
from streamtag.scheduler.capacity import COST_MARGIN, Capacity, Cost
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.health import Health
from streamtag.scheduler.realtime import RealtimeDetector
from streamtag.scheduler.stats import SchedulerStats


def push_for(pace: RealtimeDetector, now: float, seconds: float, speed: float, chunk_s: float = 0.1) -> float:
    """-> when it was done."""
    for _ in range(round(seconds / chunk_s)):
        now += chunk_s
        pace.pushed(speed * chunk_s, now)
    return now


@pytest.mark.parametrize(("speed", "live"), [(0.5, True), (1.0, True), (1.05, True), (1.3, False), (50.0, False)])
def test_who_is_faster_than_time_is_no_live_producer(speed: float, live: bool) -> None:
    pace = RealtimeDetector(1.0, 4.0, 0.0)
    push_for(pace, 0.0, 60, speed)
    assert pace.live is live


def test_chunks_of_a_second_are_live_too() -> None:
    pace = RealtimeDetector(1.0, 4.0, 0.0)
    for second in range(30):
        pace.pushed(1.0, float(second))
        assert pace.live


def test_a_stall_may_be_made_up_for() -> None:
    pace = RealtimeDetector(1.0, 4.0, 0.0)
    now = push_for(pace, 0.0, 10, 1.0)
    pace.pushed(4.0, now + 4.0)
    assert pace.live
    back = RealtimeDetector(1.0, 4.0, 100.0, behind_s=3.0)
    back.pushed(3.5, 100.0)
    assert back.live
    fresh = RealtimeDetector(1.0, 4.0, 100.0)  # the control: who was not behind is ahead
    fresh.pushed(3.5, 100.0)
    assert not fresh.live


def test_who_was_too_fast_is_live_again_after_a_while() -> None:
    pace = RealtimeDetector(1.0, 4.0, 0.0)
    pace.pushed(1000.0, 0.0)
    assert not pace.live
    push_for(pace, 0.0, 15, 1.0)
    assert pace.live


def test_waiting_on_request_does_not_make_a_file_live() -> None:
    """Served at half of the clock's pace, it is still a file."""
    pace, now = RealtimeDetector(1.0, 4.0, 0.0), 0.0
    for _ in range(20):
        pace.pushed(4.0, now)
        assert not pace.live
        pace.wait()
        now += 8.0
        pace.go_on(now)


def test_capacity_follows_from_the_cost() -> None:
    cost = Cost(step_s=0.004, stream_s=0.0006)
    capacity = Capacity(cost, 0.256, cores=2, batch=64, headroom=0.8, most=1000)
    assert cost.of(64) == pytest.approx(0.0424)
    assert capacity.streams == int(0.8 * 0.256 * 2 * 64 / (COST_MARGIN * 0.0424))
    assert Capacity(cost, 0.256, 2, 64, 0.8, most=100).streams == 100
    assert Capacity(None, 0.256, 2, 64, 0.8, most=77).streams == 77
    assert Capacity(Cost(10.0, 1.0), 0.256, 1, 1, 0.8, most=100).streams == 1


def work_for(capacity: Capacity, seconds: int, streams: int, times: float, a_second: float) -> None:
    """So many steps a second, each of which takes `times` what was foreseen."""
    cost = Cost(0.004, 0.0006)
    for _ in range(seconds):
        for _ in range(int(a_second)):
            capacity.on_step(streams)
        capacity.spent(int(a_second) * times * cost.of(streams), 1.0)


def test_capacity_follows_what_the_whole_program_takes_later() -> None:
    capacity = Capacity(Cost(0.004, 0.0006), 0.256, 2, 64, 0.8, most=1000)
    first = capacity.streams
    work_for(capacity, 100, 64, 2 * COST_MARGIN, 20)
    assert capacity.streams == pytest.approx(first / 2, abs=1)
    work_for(capacity, 100, 3, COST_MARGIN, 300)  # as foreseen, in small steps
    assert capacity.streams == pytest.approx(first, rel=0.05)
    work_for(capacity, 1, 1, 3, 100)  # one slow second is no reason
    assert capacity.streams > 0.8 * first


def test_few_streams_tell_nothing_of_capacity() -> None:
    capacity = Capacity(Cost(0.004, 0.0006), 0.256, 2, 64, 0.8, most=1000)
    first = capacity.streams
    work_for(capacity, 1000, 1, 10, 5)  # half a tenth of two cores: the page and its readers take more than the stream
    assert capacity.streams == first
    work_for(capacity, 30, 8, 6, 30)  # both cores are full: hundreds connect, and there are a few streams so far
    assert capacity.streams == first
    work_for(capacity, 100, 32, 2 * COST_MARGIN, 30)  # the control: as many as fill the cores
    assert capacity.streams == pytest.approx(first / 2, rel=0.05)


def test_the_cpu_time_is_read_every_so_often() -> None:
    spent = iter([0.0, 0.5, 1.5, 1.6])
    capacity = Capacity(Cost(0.0, 0.001), 0.256, 1, 64, 0.8, most=1000)
    first = capacity.streams
    health = Health(capacity, SchedulerConfig(), 0.0, lambda: next(spent))
    health.on_step(0, 100, 0.3, 0, now=0.4)  # not yet
    health.on_step(0, 100, 0.3, 0, now=1.0)  # 0.5 s for 0.2 foreseen
    assert first > capacity.streams > 0.9 * first


def test_degraded_for_a_while_after_a_miss() -> None:
    health = Health(Capacity(None, 0.256, 1, 1, 1.0, 1), SchedulerConfig(), 0.0)
    assert not health.degraded(0.0)
    health.on_step(0, 5, 0.1, 1, now=10.0)
    assert health.degraded(14.9)
    assert health.retry_after_s(12.0) == pytest.approx(3.0)
    assert not health.degraded(15.1)
    health.on_step(0, 5, 0.1, 0, now=16.0)
    assert not health.degraded(16.0)


def test_one_late_hop_among_very_many_is_no_overload() -> None:
    health = Health(Capacity(None, 0.256, 1, 1, 1.0, 1), SchedulerConfig(), 0.0)
    for step in range(100):
        health.on_step(0, 64, 0.05, step % 2, now=0.05 * step)  # 1 of 128
    assert not health.degraded(5.0)
    for step in range(100, 120):
        health.on_step(0, 64, 0.05, 2, now=0.05 * step)
    assert health.degraded(6.0)


def test_a_worker_that_works_half_of_the_time_is_half_busy() -> None:
    health = Health(Capacity(None, 0.256, 2, 1, 1.0, 1), SchedulerConfig(workers=2), 0.0)
    for step in range(1, 1000):
        health.on_step(0, 5, 0.05, 0, now=step * 0.1)
    assert health.busy(99.9) == pytest.approx(0.25, abs=0.01)
    assert health.busy(200.0) < 1e-6  # nothing to do since then
    assert health.cost_s == pytest.approx(0.01, rel=0.01)


def test_slow_steps_have_fewer_streams() -> None:
    health = Health(Capacity(None, 0.256, 1, 64, 1.0, 1), SchedulerConfig(), 0.0)
    assert health.batch == 64
    health.on_step(0, 10, 0.5, 0, now=1.0)
    assert health.batch == 2


def test_no_room_while_degraded() -> None:
    rest = {
        "disconnected": 0,
        "is_starting": False,
        "retry_after_s": 1.0,
        "ready": 0,
        "lag_s": 0.0,
        "hop_cost_s": 0.0,
        "utilization": 0.0,
    }
    assert SchedulerStats(streams=3, capacity=10, is_degraded=False, **rest).room == 7  # type: ignore[arg-type]
    assert SchedulerStats(streams=3, capacity=10, is_degraded=True, **rest).room == 0  # type: ignore[arg-type]
    assert SchedulerStats(streams=12, capacity=10, is_degraded=False, **rest).room == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
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
def test_limits_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(SpecError, match="SchedulerConfig"):
        SchedulerConfig(**wrong)  # type: ignore[arg-type]
