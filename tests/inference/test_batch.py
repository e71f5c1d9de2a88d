"""Many streams in one batch are, each of them, what they would be alone."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
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
from numpy.typing import NDArray

import streamtag
from streamtag.api import Tagger, load
from streamtag.errors import CapacityError, SpecError
from streamtag.inference.batch import PooledSession, SessionPool, SessionState
from streamtag.inference.frame import TagFrame
from streamtag.inference.hop_buffer import HopBufferState
from streamtag.inference.session import Session

HOP = 4096
CLOSE = 1e-4
Sound = NDArray[np.float32]


@pytest.fixture(scope="module")
def tagger(model: Path) -> Tagger:
    return load(model, "cpu")


def noise(samples: int, seed: int = 0) -> Sound:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(samples) * rng.uniform(0.1, 2)).astype(np.float32)


def agree(mine: list[TagFrame], alone: list[TagFrame]) -> None:
    assert [(f.index, f.start, f.end) for f in mine] == [(f.index, f.start, f.end) for f in alone]
    for a, b in zip(mine, alone, strict=True):
        np.testing.assert_allclose(a.probs, b.probs, atol=CLOSE)


def drain(pool: SessionPool) -> dict[PooledSession, list[TagFrame]]:
    frames: dict[PooledSession, list[TagFrame]] = {}
    while stepped := pool.step():
        for session, new in stepped:
            frames.setdefault(session, []).extend(new)
    return frames


def alone(tagger: Tagger, sound: Sound) -> list[TagFrame]:
    session = Session(tagger)
    return session.feed(sound) + session.flush()


@pytest.mark.parametrize("streams", [1, 2, 7, 8, 9, 33])
def test_a_batch_of_any_size_gives_what_each_stream_gives_alone(tagger: Tagger, streams: int) -> None:
    pool = SessionPool(tagger, slots=streams)
    sounds = [noise(3000 * (n + 2), n) for n in range(streams)]
    sessions = [pool.add() for _ in sounds]
    for session, sound in zip(sessions, sounds, strict=True):
        session.feed(sound)
        session.flush()
    frames = drain(pool)
    for session, sound in zip(sessions, sounds, strict=True):
        agree(frames.get(session, []), alone(tagger, sound))
        assert session.is_finished
        assert session.seconds == len(sound) / 16000


def test_the_shipped_model_in_a_batch_gives_what_it_gives_alone() -> None:
    tagger = load(device="cpu")
    pool = SessionPool(tagger, slots=12)
    sounds = [noise(9 * HOP, n) for n in range(12)]
    sessions = [pool.add() for _ in sounds]
    for session, sound in zip(sessions, sounds, strict=True):
        session.feed(sound)
    frames = drain(pool)
    for session, sound in zip(sessions, sounds, strict=True):
        agree(frames[session], Session(tagger).feed(sound))
    other = np.array([f.probs for f in frames[sessions[0]]]) - np.array([f.probs for f in frames[sessions[1]]])
    assert np.abs(other).max() > 10 * CLOSE  # so that a mix-up would be seen


def test_one_step_does_one_hop_of_each_that_has_one(tagger: Tagger) -> None:
    pool = SessionPool(tagger, slots=3)
    rich, poor, empty = pool.add(), pool.add(), pool.add()
    rich.feed(noise(3 * HOP))
    poor.feed(noise(HOP))
    assert (rich.ready_hops, poor.ready_hops, empty.ready_hops) == (3, 1, 0)
    assert {session for session, _ in pool.step()} == {rich, poor}
    assert (rich.ready_hops, poor.ready_hops, empty.ready_hops) == (2, 0, 0)
    assert [session for session, _ in pool.step([empty, poor])] == []
    assert [session for session, _ in pool.step([rich, rich])] == [rich]


def test_no_more_join_than_there_are_slots(tagger: Tagger) -> None:
    pool = SessionPool(tagger, slots=2)
    first, second = pool.add(), pool.add()
    with pytest.raises(CapacityError, match="all 2 slots"):
        pool.add()
    first.remove()
    first.remove()  # gives one slot back, not two
    third = pool.add()
    with pytest.raises(CapacityError):
        pool.add()
    assert len(pool) == 2
    assert {second, third} == set(pool._sessions)
    with pytest.raises(SpecError, match="at least 1"):
        SessionPool(tagger, slots=0)


def test_a_slot_remembers_nothing_of_who_had_it_before(tagger: Tagger) -> None:
    pool, sound = SessionPool(tagger, slots=1), noise(6 * HOP)
    before = pool.add()
    before.feed(noise(9 * HOP, 3))
    drain(pool)
    before.remove()
    after = pool.add()
    after.feed(sound)
    agree(drain(pool)[after], Session(tagger).feed(sound))


def test_streams_of_several_threads_do_not_disturb_each_other(tagger: Tagger) -> None:
    pool = SessionPool(tagger, slots=8)
    sounds = [noise(12 * HOP, n) for n in range(8)]
    sessions = [pool.add() for _ in sounds]
    frames: dict[PooledSession, list[TagFrame]] = {session: [] for session in sessions}

    def work(mine: list[PooledSession]) -> None:
        for session in mine:
            session.feed(sounds[sessions.index(session)])
        while stepped := pool.step(mine):
            for session, new in stepped:
                frames[session] += new

    threads = [threading.Thread(target=work, args=(sessions[n::3],)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for session, sound in zip(sessions, sounds, strict=True):
        agree(frames[session], Session(tagger).feed(sound))


def test_a_stream_goes_on_in_another_pool_without_a_break(tagger: Tagger) -> None:
    sound = noise(20 * HOP)
    unbroken = Session(tagger)
    expected = unbroken.feed(sound)
    here, there = SessionPool(tagger, slots=1), SessionPool(tagger, slots=3)
    there.add()
    first = here.add()
    first.feed(sound[: 7 * HOP + 123])
    frames = drain(here)[first]
    second = there.add(first.export_state())
    assert second.seconds == first.seconds
    second.feed(sound[7 * HOP + 123 :])
    agree(frames + drain(there)[second], expected)
    without = there.add()  # control: without its state it is another stream
    without.feed(sound[7 * HOP + 123 :])
    probs = np.array([f.probs for f in drain(there)[without]])
    assert np.abs(probs[3:6] - np.array([f.probs for f in expected[9:12]])).max() > 10 * CLOSE


def test_a_state_is_taken_only_between_hops(tagger: Tagger) -> None:
    session = SessionPool(tagger, slots=1).add()
    session.feed(noise(2 * HOP))
    with pytest.raises(ValueError, match="all its hops are done"):
        session.export_state()
    session._pool.step()
    session._pool.step()
    session.export_state()
    session.flush()
    session._pool.step()
    with pytest.raises(ValueError, match=r"ended|hops"):
        session.export_state()


def damage(state: SessionState, what: str) -> SessionState:
    arrays, track = dict(state.arrays), state.track
    name = sorted(arrays)[0]
    if what == "an array is missing":
        del arrays[name]
    elif what == "another shape":
        arrays[name] = np.zeros((3, 3), np.float32)
    elif what == "not finite":
        arrays[name] = np.full_like(arrays[name], np.nan)
    elif what == "another type":
        arrays[name] = arrays[name].astype(np.int64)
    else:
        track = HopBufferState(track.samples, track.frames, True, np.zeros(HOP, np.float32))
    return SessionState(track, arrays)


@pytest.mark.parametrize(
    "what", ["an array is missing", "another shape", "not finite", "another type", "too much is pending"]
)
def test_a_damaged_state_is_refused_and_takes_no_slot(tagger: Tagger, what: str) -> None:
    pool = SessionPool(tagger, slots=1)
    session = pool.add()
    session.feed(noise(2 * HOP))
    drain(pool)
    state = session.export_state()
    session.remove()
    with pytest.raises(SpecError):
        pool.add(damage(state, what))
    assert len(pool) == 0
    pool.add(state)


@pytest.mark.parametrize("name", ["samples", "frames", "begun", "lost"])
@pytest.mark.parametrize("value", [None, -1, "1", 0.5, [[1]], [[5, 2]], [["a", "b"]], True, {}])
def test_damaged_numbers_are_refused(name: str, value: object) -> None:
    numbers = HopBufferState(100, 1, True, np.zeros(0, np.float32), ((3, 5),)).numbers()
    assert HopBufferState.of(numbers, np.zeros(0, np.float32)).numbers() == numbers
    if (name, str(value)) in (("begun", "True"), ("lost", "{}")):
        return  # these are right
    with pytest.raises(SpecError, match="damaged"):
        HopBufferState.of(numbers | {name: value}, np.zeros(0, np.float32))


def test_it_is_part_of_the_public_face() -> None:
    assert streamtag.SessionPool is SessionPool


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), np.float32), np.zeros(3, np.int16)])
def test_what_is_no_sound_is_refused(tagger: Tagger, wrong: NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match="samples must be"):
        SessionPool(tagger, slots=1).add().feed(wrong)


class Streams(RuleBasedStateMachine):
    """Streams come, are fed, lose sound, forget, move, end and go at random: each is as if it were alone."""

    tagger: Tagger
    live = Bundle("live")

    def __init__(self) -> None:
        super().__init__()
        self.pools = [SessionPool(self.tagger, slots=5), SessionPool(self.tagger, slots=4)]
        self.mirror: dict[PooledSession, Session] = {}
        self.expected: dict[PooledSession, list[TagFrame]] = {}
        self.given: dict[PooledSession, list[TagFrame]] = {}
        self.seed = 0

    def room(self, pool: SessionPool) -> bool:
        return len(pool) < pool.slots

    @precondition(lambda self: any(self.room(pool) for pool in self.pools))
    @rule(target=live, at=st.integers(0, 1))
    def join(self, at: int) -> PooledSession:
        pool = self.pools[at] if self.room(self.pools[at]) else self.pools[1 - at]
        session = pool.add()
        self.mirror[session], self.expected[session], self.given[session] = Session(self.tagger), [], []
        return session

    @rule(session=live, samples=st.one_of(st.integers(0, 50), st.integers(0, 4 * HOP)))
    def feed(self, session: PooledSession, samples: int) -> None:
        self.seed += 1
        sound = noise(samples, self.seed)
        session.feed(sound)
        self.expected[session] += self.mirror[session].feed(sound)

    @rule(session=live, samples=st.one_of(st.integers(1, 3 * HOP), st.integers(10 * HOP, 50 * HOP)))
    def lose(self, session: PooledSession, samples: int) -> None:
        session.insert_gap(samples)
        self.expected[session] += self.mirror[session].insert_gap(samples)

    @rule(session=live)
    def forget(self, session: PooledSession) -> None:
        session.reset_context()
        self.mirror[session].reset_context()

    @rule(session=live)
    def reset(self, session: PooledSession) -> None:
        self.settle()
        session.reset()
        self.mirror[session].reset()

    @rule(at=st.integers(0, 1))
    def step(self, at: int) -> None:
        for session, frames in self.pools[at].step():
            self.given[session] += frames

    @rule(session=live)
    def step_one(self, session: PooledSession) -> None:
        for stepped, frames in session._pool.step([session]):
            self.given[stepped] += frames

    @rule(target=live, session=consumes(live))
    def move(self, session: PooledSession) -> PooledSession:
        self.settle()
        other = self.pools[session._pool is self.pools[0]]
        if not self.room(other):
            return session
        moved = other.add(session.export_state())
        session.remove()
        self.mirror[moved] = self.mirror.pop(session)
        self.expected[moved], self.given[moved] = self.expected.pop(session), self.given.pop(session)
        return moved

    @rule(session=consumes(live))
    def end(self, session: PooledSession) -> None:
        session.flush()
        self.expected[session] += self.mirror[session].flush()
        self.settle()
        assert session.is_finished
        session.remove()
        agree(self.given.pop(session), self.expected.pop(session))
        del self.mirror[session]

    @rule(session=consumes(live))
    def vanish(self, session: PooledSession) -> None:
        session.remove()
        del self.mirror[session], self.expected[session], self.given[session]

    def settle(self) -> None:
        for pool in self.pools:
            for session, frames in drain(pool).items():
                self.given[session] += frames

    @invariant()
    def nothing_comes_before_its_time(self) -> None:
        for session, frames in self.given.items():
            assert len(frames) <= len(self.expected[session])

    def teardown(self) -> None:
        self.settle()
        for session, frames in self.given.items():
            agree(frames, self.expected[session])


def test_streams_that_come_and_go_at_random_are_each_as_if_alone(tagger: Tagger) -> None:
    Streams.tagger = tagger
    limits = settings(max_examples=40, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Streams, settings=limits)


def test_a_rehearsal_leaves_no_trace(tagger: Tagger) -> None:
    pool, sound = SessionPool(tagger, slots=5), noise(6 * HOP)
    sizes: list[int] = []
    step = pool._network.step
    pool._network.step = lambda audio, rows: (sizes.append(len(rows)), step(audio, rows))[1]  # type: ignore[method-assign, func-returns-value]
    pool.warm_up(8)
    assert sorted(set(sizes)) == [1, 2, 4, 5]
    assert len(pool) == 0
    sessions = [pool.add() for _ in range(5)]
    sessions[3].feed(sound)
    agree(drain(pool)[sessions[3]], Session(tagger).feed(sound))
    with pytest.raises(CapacityError):
        pool.warm_up(2)
    assert len(pool) == 5
