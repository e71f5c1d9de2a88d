"""Who gets the next step: a process that is idle, then the one that is done first; never one that is lost."""

from __future__ import annotations

import threading

from streamtag.inference.worker_slots import WorkerSlots


def test_idle_processes_come_first_then_the_one_that_began_first() -> None:
    lanes = WorkerSlots(3, 2)
    taken = [lanes.take() for _ in range(6)]
    numbers = [number for number, _ in taken]
    assert sorted(numbers[:3]) == [0, 1, 2]
    assert numbers[3:] == numbers[:3]
    assert len(set(taken)) == 6


def test_of_idle_processes_the_one_that_worked_last_comes_first() -> None:
    lanes = WorkerSlots(3, 2)
    first, second = lanes.take(), lanes.take()
    lanes.give(*first, lost=False)
    lanes.give(*second, lost=False)
    assert lanes.take()[0] == second[0]


def test_one_that_finds_no_lane_waits_for_one() -> None:
    lanes = WorkerSlots(1, 1)
    taken = lanes.take()
    found = []
    waiter = threading.Thread(target=lambda: found.append(lanes.take()))
    waiter.start()
    waiter.join(0.1)
    assert waiter.is_alive()
    assert not lanes.give(*taken, lost=False)
    waiter.join(10)
    assert found == [taken]


def test_a_lost_process_is_replaced_once_and_by_the_last_that_had_a_lane_of_it() -> None:
    lanes = WorkerSlots(2, 2)
    taken = [lanes.take() for _ in range(4)]
    of_lost = [lane for number, lane in taken if number == 0]
    assert not lanes.give(0, of_lost[0], lost=True)
    assert lanes.give(0, of_lost[1], lost=False)  # which had its answer just before
    waiter = threading.Thread(target=lanes.take)
    waiter.start()
    waiter.join(0.1)
    assert waiter.is_alive()  # nothing for a process that is gone
    lanes.restore(0)
    waiter.join(10)
    assert not waiter.is_alive()
