"""Streams come, break off, return, move and end at random, in two engines: none ever shows another's sound."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
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

from streamtag.protocol.messages import Frame, Gap
from streamtag.scheduler.scheduler import ProducerHandle
from tests.scheduler.scheduler_room import HOP, RATE, Clock, Room, Sound, noise, shows

MOST = 8  # streams of an engine
LENGTH = 60 * RATE  # samples; more than any of these streams sends


@dataclass
class Life:
    """What is known of a stream: its sound, with silence where it was lost; the engine it is in; what it showed.

    sent: samples that its producer is through with. before: what other engines told of it.
    """

    name: str
    sound: Sound
    room: Room
    feed: ProducerHandle
    sent: int = 0
    lost: list[tuple[int, int]] = field(default_factory=list)
    before: list[Frame | Gap] = field(default_factory=list)

    def told(self) -> list[Frame | Gap]:
        here = [message for message in self.room.ears.of(self.name) if isinstance(message, Frame | Gap)]
        return self.before + here


class Streams(RuleBasedStateMachine):
    model: Path
    live = Bundle("live")
    away = Bundle("away")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.rooms = [Room(self.model, MOST, clock=self.clock) for _ in range(2)]
        self.count = 0
        self.lives: list[Life] = []

    def has_room(self, room: Room) -> bool:
        return room.engine.stats.room > 0

    @precondition(lambda self: self.has_room(self.rooms[0]))
    @rule(target=live)
    def open(self) -> Life:
        self.count += 1
        name = f"stream {self.count}"
        life = Life(name, noise(LENGTH, self.count), self.rooms[0], self.rooms[0].open(name))
        life.feed.push(life.sound[:HOP].tobytes())
        life.sent = HOP
        self.lives.append(life)
        return life

    @rule(life=live, samples=st.one_of(st.integers(0, 30), st.integers(HOP, 5 * HOP)), cut=st.integers(0, 3))
    def push(self, life: Life, samples: int, cut: int) -> None:
        data = life.sound[life.sent : life.sent + samples].tobytes()
        life.feed.push(data[: len(data) // 3 + cut])
        life.feed.push(data[len(data) // 3 + cut :])
        life.sent += samples
        assert life.feed.position == life.sent

    @rule(
        target=live,
        life=consumes(live),
        lost=st.one_of(st.just(0), st.integers(-2 * HOP, 5 * HOP), st.integers(9 * HOP, 15 * HOP)),
        counts=st.booleans(),
        half=st.binary(max_size=3),
    )
    def stumble(self, life: Life, lost: int, counts: bool, half: bytes) -> Life:
        """Breaks off and comes back at once."""
        life.feed.push(half)
        life.feed.disconnect()
        self._return(life, lost, counts)
        return life

    @rule(target=away, life=consumes(live), half=st.binary(max_size=3))
    def break_off(self, life: Life, half: bytes) -> Life:
        life.feed.push(half)
        life.feed.disconnect()
        return life

    @rule(
        target=live,
        life=consumes(away),
        move=st.one_of(st.integers(-2 * HOP, 0), st.just(0), st.integers(1, 5 * HOP), st.integers(9 * HOP, 15 * HOP)),
        counts=st.booleans(),
    )
    def come_back(self, life: Life, move: int, counts: bool) -> Life:
        self._return(life, move, counts)
        return life

    def _return(self, life: Life, move: int, counts: bool) -> None:
        """move: samples that it sends again (below 0), or that are lost."""
        if counts:
            begin = max(0, life.sent + move)
        else:
            (load,) = [stream for stream in life.room.engine.streams if stream.name == life.name]
            assert load.is_disconnected
            since = life.room.engine._desk.roster.find(life.name)
            assert since is not None
            assert since.away_since is not None
            begin = life.sent + round((self.clock.now - since.away_since) * RATE)
        life.feed = life.room.open(life.name, position=begin if counts else None)
        assert life.feed.position == begin
        if begin > life.sent:
            life.lost.append((life.sent, begin))
            life.sound[life.sent : begin] = 0
            life.sent = begin
        elif begin < life.sent:
            life.feed.push(life.sound[begin : life.sent].tobytes())

    @rule(target=away, life=consumes(away))
    def move_while_away(self, life: Life) -> Life:
        return self._move(life)

    @rule(target=live, life=consumes(live))
    def move(self, life: Life) -> Life:
        return self._move(life)

    @rule(life=consumes(live))
    def end(self, life: Life) -> None:
        self.lives.remove(life)
        life.room.end(life.name, life.feed)
        told = life.told()
        frames = [message for message in told if isinstance(message, Frame)]
        gaps = [(message.start, message.lost_s) for message in told if isinstance(message, Gap)]
        assert gaps == [(begin / RATE, (end - begin) / RATE) for begin, end in life.lost]
        numbers = [k for k in range(-(-life.sent // HOP)) if not any(a <= k * HOP < b for a, b in life.lost)]
        assert [frame.frame for frame in frames] == numbers
        assert all(shows(frame, life.sound[: life.sent]) for frame in frames)
        assert life.room.ears.ends(life.name)[0].seconds == life.sent / RATE

    @rule(seconds=st.floats(0, 0.2))
    def time_passes(self, seconds: float) -> None:
        for room in self.rooms:
            room.work()
        self.clock.now += seconds

    @rule(at=st.integers(0, 1))
    def work_a_little(self, at: int) -> None:
        self.rooms[at].once()

    @invariant()
    def nobody_holds_a_slot_without_a_stream(self) -> None:
        for room in self.rooms:
            assert len(room.pool) <= room.engine.stats.streams

    def teardown(self) -> None:
        for life in list(self.lives):
            if life.feed._over:
                life.feed = life.room.open(life.name, position=life.sent)
            self.end(life)
        for room in self.rooms:
            assert room.engine.stats.streams == len(room.pool) == 0

    def _move(self, life: Life) -> Life:
        """To the other engine; its producer sends again what is not in the state."""
        there = self.rooms[0] if life.room is self.rooms[1] else self.rooms[1]
        if not self.has_room(there):
            return life
        connected = not life.feed._over
        life.room.work()  # what waits is too much of the past for this test: gaps that were told are told once
        future = life.room.engine.export_state(life.name)
        life.room.work()
        adoption = there.engine.import_state(life.name, future.result(0))
        there.work()
        position = adoption.result(0)
        assert position <= life.sent
        life.before = life.told()
        if connected:
            life.feed.end()
        else:
            life.room.open(life.name).end()
        life.room.work()
        life.room.ears.messages = [m for m in life.room.ears.messages if getattr(m, "stream", None) != life.name]
        life.room = there
        life.feed = there.open(life.name, position=position)
        life.feed.push(life.sound[position : life.sent].tobytes())
        if not connected:
            life.feed.disconnect()
        return life


def test_random_lives_of_streams(model: Path) -> None:
    Streams.model = model
    run_state_machine_as_test(
        Streams,
        settings=settings(
            max_examples=120, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_the_machine_would_see_a_sound_that_is_another_stream_s(model: Path) -> None:
    """The negative control."""
    room = Room(model)
    feed = room.open("mic")
    feed.push(noise(20_000, 1).tobytes())
    room.end("mic", feed)
    frames = room.ears.frames("mic")
    assert all(shows(frame, noise(20_000, 1)) for frame in frames)
    assert not any(shows(frame, noise(20_000, 2)) for frame in frames)
    assert not any(shows(frame, np.roll(noise(20_000, 1), 1)) for frame in frames)
