"""Streams of two batches that come and go at random each get what they would get alone."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streamtag.api import Tagger
from streamtag.inference.batch import PooledSession, SessionPool
from streamtag.inference.frame import TagFrame
from streamtag.inference.session import Session
from tests.inference.conftest import HOP, agree, drain, noise
from tests.model.fake_capture import FakeCapture

LIMITS = settings(stateful_step_count=40, suppress_health_check=list(HealthCheck))


class Streams(RuleBasedStateMachine):
    """Streams come, are fed, lose audio, are reset, move, end and go at random; each equals a Session alone."""

    tagger: Tagger
    capture: FakeCapture | None
    live = Bundle("live")

    def __init__(self) -> None:
        super().__init__()
        self.pools = [SessionPool(self.tagger, slots, capture=self.capture) for slots in (5, 4)]
        self.pool_of: dict[PooledSession, SessionPool] = {}
        self.mirror: dict[PooledSession, Session] = {}
        self.expected: dict[PooledSession, list[TagFrame]] = {}
        self.frames: dict[PooledSession, list[TagFrame]] = {}
        self.seed = 0

    def has_room(self, pool: SessionPool) -> bool:
        return len(pool) < pool.slots

    @precondition(lambda self: any(self.has_room(pool) for pool in self.pools))
    @rule(target=live, at=st.integers(0, 1))
    def add(self, at: int) -> PooledSession:
        pool = self.pools[at] if self.has_room(self.pools[at]) else self.pools[1 - at]
        session = pool.add()
        self.pool_of[session], self.mirror[session] = pool, Session(self.tagger)
        self.expected[session], self.frames[session] = [], []
        return session

    @rule(session=live, samples=st.one_of(st.integers(0, 50), st.integers(0, 4 * HOP)))
    def feed(self, session: PooledSession, samples: int) -> None:
        self.seed += 1
        audio = noise(samples, self.seed)
        session.feed(audio)
        self.expected[session] += self.mirror[session].feed(audio)

    @rule(session=live, samples=st.one_of(st.integers(1, 3 * HOP), st.integers(10 * HOP, 50 * HOP)))
    def insert_gap(self, session: PooledSession, samples: int) -> None:
        session.insert_gap(samples)
        self.expected[session] += self.mirror[session].insert_gap(samples)

    @rule(session=live)
    def reset_context(self, session: PooledSession) -> None:
        session.reset_context()
        self.mirror[session].reset_context()

    @rule(session=live)
    def reset(self, session: PooledSession) -> None:
        self.step_all()
        session.reset()
        self.mirror[session].reset()

    @rule(at=st.integers(0, 1))
    def step(self, at: int) -> None:
        for session, frames in self.pools[at].step():
            self.frames[session] += frames

    @rule(session=live)
    def step_one(self, session: PooledSession) -> None:
        for stepped, frames in self.pool_of[session].step([session]):
            self.frames[stepped] += frames

    @rule(target=live, session=consumes(live))
    def move(self, session: PooledSession) -> PooledSession:
        self.step_all()
        other = self.pools[self.pool_of[session] is self.pools[0]]
        if not self.has_room(other):
            return session
        moved = other.add(session.export_state())
        session.remove()
        self.pool_of[moved], self.mirror[moved] = other, self.mirror.pop(session)
        self.expected[moved], self.frames[moved] = self.expected.pop(session), self.frames.pop(session)
        return moved

    @rule(session=consumes(live))
    def end(self, session: PooledSession) -> None:
        session.flush()
        self.expected[session] += self.mirror[session].flush()
        self.step_all()
        assert session.is_finished
        session.remove()
        agree(self.frames.pop(session), self.expected.pop(session))

    @rule(session=consumes(live))
    def remove(self, session: PooledSession) -> None:
        session.remove()
        del self.expected[session], self.frames[session]

    def step_all(self) -> None:
        for pool in self.pools:
            for session, frames in drain(pool).items():
                self.frames[session] += frames

    @invariant()
    def no_frame_comes_early(self) -> None:
        assert all(len(frames) <= len(self.expected[session]) for session, frames in self.frames.items())

    def teardown(self) -> None:
        self.step_all()
        for session, frames in self.frames.items():
            agree(frames, self.expected[session])


@pytest.mark.parametrize(
    ("examples", "is_captured"),
    [
        pytest.param(15, False, id="plain"),
        pytest.param(15, True, id="captured", marks=pytest.mark.slow),
    ],
)
def test_streams_that_come_and_go_at_random_are_each_as_if_alone(
    tagger: Tagger, examples: int, is_captured: bool
) -> None:
    Streams.tagger, Streams.capture = tagger, FakeCapture() if is_captured else None
    run_state_machine_as_test(Streams, settings=settings(LIMITS, max_examples=examples))
    assert Streams.capture is None or Streams.capture.replays
