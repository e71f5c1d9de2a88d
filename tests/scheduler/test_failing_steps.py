"""A step that fails costs its own streams, and no place."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtag.protocol.messages import Frame
from tests.scheduler.harness import PLAIN, EchoPool, FakeClock, Harness, music


def test_a_defect_in_one_stream_ends_that_stream_and_no_other(harness: Harness) -> None:
    good, bad = harness.open("good"), harness.open("bad")
    good.push(music(0.7, PLAIN))
    harness.run_all()
    assert isinstance(harness.pool, EchoPool)
    harness.pool.fails_to_add = True
    bad.push(music(0.7, PLAIN))
    harness.run_all()
    assert bad.has_ended
    assert "broken" in harness.log.errors("bad")[0].message
    assert len(harness.log.ends("bad")) == 1
    good.push(music(0.7, PLAIN))
    harness.end("good", good)
    assert len(harness.pool) == 0
    again = harness.open("bad")
    again.push(music(0.7, PLAIN))
    harness.run_all()
    assert isinstance(harness.log.of("bad")[-1], Frame)


class FailingClock(FakeClock):
    """A clock that fails once, after `calls` more calls."""

    calls = -1

    def __call__(self) -> float:
        self.calls -= 1
        if self.calls == 0:
            raise RuntimeError("broken")
        return self.now


@pytest.mark.parametrize("calls", [2, 3])
def test_a_step_that_fails_as_a_whole_gives_its_places_back(model: Path, calls: int) -> None:
    """However often: the scheduler has as much room as before."""
    clock = FailingClock()
    harness = Harness(model, slots=3, clock=clock)
    for number in range(5):
        names = [f"{number}/{n}" for n in range(3)]
        producers = [harness.open(name) for name in names]
        for producer in producers:
            producer.push(music(0.5, PLAIN))
        clock.calls = calls  # after those of taking the task
        harness.run_all()
        clock.calls = -1
        for producer in producers:
            producer.end()
        harness.run_all()
        assert all(producer.has_ended for producer in producers)
        assert [len(harness.log.ends(name)) for name in names] == [1, 1, 1]
        assert harness.scheduler.stats.streams == len(harness.pool) == 0
        assert harness.scheduler.stats.room == 3
    assert any(harness.log.errors(f"0/{n}") for n in range(3))
