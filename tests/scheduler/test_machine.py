"""Streams open, disconnect, return, move and end at random, in two schedulers: none ever shows another's audio."""

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
from streamtag.scheduler.producer_handle import ProducerHandle
from tests.scheduler.harness import HOP, RATE, FakeClock, Harness, Sound, noise, shows

MAX_STREAMS = 8  # of a scheduler
LENGTH = 60 * RATE  # samples; more than any of these streams sends
GAPS = st.one_of(st.just(0), st.integers(-2 * HOP, 5 * HOP), st.integers(9 * HOP, 15 * HOP))


@dataclass
class StreamModel:
    """What is known of a stream: its sound, with silence where it was lost, and the scheduler it is in.

    sent: samples that its producer has sent. disconnected_since: None while it is connected. earlier: messages of
    other schedulers.
    """

    name: str
    sound: Sound
    harness: Harness
    producer: ProducerHandle
    sent: int = 0
    disconnected_since: float | None = None
    lost: list[tuple[int, int]] = field(default_factory=list)
    earlier: list[Frame | Gap] = field(default_factory=list)

    def messages(self) -> list[Frame | Gap]:
        here = [message for message in self.harness.log.of(self.name) if isinstance(message, Frame | Gap)]
        return self.earlier + here

    def disconnect(self) -> None:
        self.producer.disconnect()
        self.disconnected_since = self.harness.clock.now

    def resume(self, position: int | None) -> None:
        self.producer = self.harness.open(self.name, position=position)
        self.disconnected_since = None


class Streams(RuleBasedStateMachine):
    model: Path
    connected = Bundle("connected")
    disconnected = Bundle("disconnected")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.harnesses = [Harness(self.model, MAX_STREAMS, clock=self.clock) for _ in range(2)]
        self.count = 0
        self.streams: list[StreamModel] = []

    @precondition(lambda self: self.harnesses[0].scheduler.stats.room > 0)
    @rule(target=connected)
    def open(self) -> StreamModel:
        self.count += 1
        name = f"stream {self.count}"
        stream = StreamModel(name, noise(LENGTH, self.count), self.harnesses[0], self.harnesses[0].open(name))
        stream.producer.push(stream.sound[:HOP].tobytes())
        stream.sent = HOP
        self.streams.append(stream)
        return stream

    @rule(stream=connected, samples=st.one_of(st.integers(0, 30), st.integers(HOP, 5 * HOP)), cut=st.integers(0, 3))
    def push(self, stream: StreamModel, samples: int, cut: int) -> None:
        data = stream.sound[stream.sent : stream.sent + samples].tobytes()
        stream.producer.push(data[: len(data) // 3 + cut])
        stream.producer.push(data[len(data) // 3 + cut :])
        stream.sent += samples
        assert stream.producer.position == stream.sent

    @rule(target=connected, stream=consumes(connected), gap=GAPS, counts=st.booleans(), partial=st.binary(max_size=3))
    def return_at_once(self, stream: StreamModel, gap: int, counts: bool, partial: bytes) -> StreamModel:
        stream.producer.push(partial)
        stream.disconnect()
        return self._resume(stream, gap, counts)

    @rule(target=disconnected, stream=consumes(connected), partial=st.binary(max_size=3))
    def disconnect(self, stream: StreamModel, partial: bytes) -> StreamModel:
        stream.producer.push(partial)
        stream.disconnect()
        return stream

    @rule(target=connected, stream=consumes(disconnected), gap=GAPS, counts=st.booleans())
    def return_later(self, stream: StreamModel, gap: int, counts: bool) -> StreamModel:
        return self._resume(stream, gap, counts)

    def _resume(self, stream: StreamModel, gap: int, counts: bool) -> StreamModel:
        """gap: samples that are lost, or sent again (below 0)."""
        assert stream.disconnected_since is not None
        begin = max(0, stream.sent + gap)
        if not counts:
            begin = stream.sent + round((self.clock.now - stream.disconnected_since) * RATE)
        stream.resume(begin if counts else None)
        assert stream.producer.position == begin
        if begin > stream.sent:
            stream.lost.append((stream.sent, begin))
            stream.sound[stream.sent : begin] = 0
            stream.sent = begin
        elif begin < stream.sent:
            stream.producer.push(stream.sound[begin : stream.sent].tobytes())
        return stream

    @rule(target=disconnected, stream=consumes(disconnected))
    def move_while_disconnected(self, stream: StreamModel) -> StreamModel:
        return self._move(stream)

    @rule(target=connected, stream=consumes(connected))
    def move(self, stream: StreamModel) -> StreamModel:
        return self._move(stream)

    def _move(self, stream: StreamModel) -> StreamModel:
        """To the other scheduler; the producer sends again what is not in the state."""
        here = stream.harness
        there = self.harnesses[0] if here is self.harnesses[1] else self.harnesses[1]
        if not there.scheduler.stats.room:
            return stream
        was_disconnected = stream.disconnected_since is not None
        here.run_all()  # so that no gap is reported twice
        state = here.scheduler.export_state(stream.name)
        here.run_all()
        imported = there.scheduler.import_state(stream.name, state.result(0))
        there.run_all()
        position = imported.result(0)
        assert position <= stream.sent
        stream.earlier = stream.messages()
        if was_disconnected:
            here.open(stream.name).end()
        else:
            stream.producer.end()
        here.run_all()
        here.log.messages = [m for m in here.log.messages if getattr(m, "stream", None) != stream.name]
        stream.harness = there
        stream.resume(position)
        stream.producer.push(stream.sound[position : stream.sent].tobytes())
        if was_disconnected:
            stream.disconnect()
        return stream

    @rule(stream=consumes(connected))
    def end(self, stream: StreamModel) -> None:
        self.streams.remove(stream)
        stream.harness.end(stream.name, stream.producer)
        messages = stream.messages()
        frames = [message for message in messages if isinstance(message, Frame)]
        gaps = [(message.start, message.lost_s) for message in messages if isinstance(message, Gap)]
        assert gaps == [(begin / RATE, (end - begin) / RATE) for begin, end in stream.lost]
        numbers = [k for k in range(-(-stream.sent // HOP)) if not any(a <= k * HOP < b for a, b in stream.lost)]
        assert [frame.frame for frame in frames] == numbers
        assert all(shows(frame, stream.sound[: stream.sent]) for frame in frames)
        assert stream.harness.log.ends(stream.name)[0].seconds == stream.sent / RATE

    @rule(seconds=st.floats(0, 0.2))
    def time_passes(self, seconds: float) -> None:
        for harness in self.harnesses:
            harness.run_all()
        self.clock.now += seconds

    @rule(index=st.integers(0, 1))
    def run_one(self, index: int) -> None:
        self.harnesses[index].run_one()

    @invariant()
    def no_slot_is_taken_without_a_stream(self) -> None:
        for harness in self.harnesses:
            assert len(harness.pool) <= harness.scheduler.stats.streams

    def teardown(self) -> None:
        for stream in list(self.streams):
            if stream.disconnected_since is not None:
                stream.resume(stream.sent)
            self.end(stream)
        for harness in self.harnesses:
            assert harness.scheduler.stats.streams == len(harness.pool) == 0


def test_random_streams(model: Path) -> None:
    Streams.model = model
    run_state_machine_as_test(
        Streams,
        settings=settings(max_examples=50, stateful_step_count=50, suppress_health_check=list(HealthCheck)),
    )


def test_the_machine_would_notice_audio_of_another_stream(harness: Harness) -> None:
    """The negative control."""
    producer = harness.open("mic")
    producer.push(noise(20_000, 1).tobytes())
    harness.end("mic", producer)
    frames = harness.log.frames("mic")
    assert all(shows(frame, noise(20_000, 1)) for frame in frames)
    assert not any(shows(frame, noise(20_000, 2)) for frame in frames)
    assert not any(shows(frame, np.roll(noise(20_000, 1), 1)) for frame in frames)
