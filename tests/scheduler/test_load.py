"""Overload is a state: nobody new is let in, what comes too late is shed and told, and memory stays bounded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from streamtag.errors import CapacityError
from streamtag.inference.batch import SessionPool
from streamtag.inference.session import Session
from streamtag.protocol.messages import Frame
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.pcm_format import PcmFormat
from streamtag.scheduler.registry import Busy
from streamtag.scheduler.scheduler import ProducerHandle, Scheduler
from tests.scheduler.scheduler_room import (
    HOP,
    PLAIN,
    RATE,
    Bell,
    Clock,
    Ears,
    Echo,
    Room,
    loaded,
    missing,
    noise,
    shows,
)

CHUNK = 1600  # samples, of 0.1 s


class Evening:
    """Live producers that push by the room's clock, each 0.1 s of its own sound, into an engine whose steps take time.

    cost_s: of one stream in a step.
    """

    def __init__(self, model: Path, producers: int, cost_s: float, spec: SchedulerConfig | None = None) -> None:
        self.clock = Clock()
        echo = Echo(50, self._take_time)
        spec = spec or SchedulerConfig(batch_window_s=0, max_streams=32)
        self.room = Room(model, slots=32, echo=echo, spec=spec, clock=self.clock)
        self.echo = echo
        self.cost_s = cost_s
        self.sounds = [noise(RATE * 60, n) for n in range(producers)]
        self.feeds: list[ProducerHandle] = [self.room.open(str(n)) for n in range(producers)]
        self.pushed = 0  # chunks
        self.began = self.clock.now
        self.most_waiting = 0.0

    def go_on(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self.clock.now < until:
            self._push()
            if not self.room.once():
                self.clock.now = min(until, self.began + (self.pushed + 1) * CHUNK / RATE)
        self._push()

    def end(self) -> None:
        for feed in self.feeds:
            feed.end()
        self.room.work()

    @property
    def seconds(self) -> float:
        return self.pushed * CHUNK / RATE

    def _push(self) -> None:
        """All that the clock owes, each chunk at its time, also those whose time came during a step."""
        now = self.clock.now
        while (then := self.began + (self.pushed + 1) * CHUNK / RATE) <= now + 1e-9:
            self.clock.now = then
            part = slice(self.pushed * CHUNK, (self.pushed + 1) * CHUNK)
            for feed, sound in zip(self.feeds, self.sounds, strict=True):
                assert feed.push(sound[part].tobytes())  # a live producer is never asked to wait
            self.pushed += 1
        self.clock.now = now
        self.most_waiting = max(self.most_waiting, *(stream.waiting_s for stream in self.room.engine.streams))

    def _take_time(self, streams: int) -> None:
        self.clock.now += self.cost_s * streams


def untouched(frame: Frame, gaps: list[tuple[float, float]]) -> bool:
    """Whether all of the hop that an echo shows was heard."""
    begin = (frame.frame * HOP + HOP // 2) / RATE
    return not any(start < begin + HOP / RATE and end > begin for start, end in gaps)


def test_what_can_be_done_in_time_loses_nothing(model: Path) -> None:
    """The negative control: the same evening at half the cost."""
    evening = Evening(model, 10, cost_s=0.01)
    evening.go_on(20)
    evening.end()
    assert not evening.room.engine.stats.is_degraded
    for n, sound in enumerate(evening.sounds):
        assert not evening.room.ears.gaps(str(n))
        assert missing(evening.room.ears.frames(str(n)), [], evening.seconds) == []
        assert all(shows(frame, sound[: evening.pushed * CHUNK]) for frame in evening.room.ears.frames(str(n)))


@pytest.mark.parametrize("times", [1.25, 2.0, 6.0, 20.0])
def test_what_comes_too_late_is_shed_and_every_gap_is_told(model: Path, times: float) -> None:
    """More work than there is time for, by so many times."""
    evening = Evening(model, 10, cost_s=0.0256 * times)
    evening.go_on(30)
    load = evening.room.engine.stats
    assert load.is_degraded
    assert load.room == 0
    assert evening.most_waiting <= 4.0 + CHUNK / RATE
    evening.end()
    given = 0
    for n, sound in enumerate(evening.sounds):
        frames, gaps = evening.room.ears.frames(str(n)), evening.room.ears.gaps(str(n))
        assert gaps
        assert frames
        assert missing(frames, gaps, evening.seconds) == []
        spans = [(gap.start, gap.start + gap.lost_s) for gap in gaps]
        assert spans == sorted(spans)
        assert not any(a < (f.start + f.end) / 2 < b - 1e-9 for f in frames for a, b in spans)
        assert [f.frame for f in frames] == sorted({f.frame for f in frames})
        heard = [frame for frame in frames if untouched(frame, spans)]
        assert all(shows(frame, sound[: evening.pushed * CHUNK]) for frame in heard)
        assert len(heard) > len(frames) / 4
        given += len(frames)
        end = evening.room.ears.ends(str(n))[0]
        assert end.seconds == pytest.approx(evening.seconds, abs=0.3)
        told = sum(gap.lost_s for gap in gaps)
        assert len(frames) * 0.256 + told == pytest.approx(evening.seconds, rel=0.1)
    assert given > 0.5 * 10 * 30 / 0.256 / times  # what is shed pays: most of the time goes into frames


def test_who_sheds_is_fresh_again(model: Path) -> None:
    """After a hold-up of 3 s the stream is behind by no more than a hop or two."""
    evening = Evening(model, 4, cost_s=0.001)
    evening.go_on(5)
    evening.clock.now += 3
    evening.go_on(5)
    frames = evening.room.ears.frames("0")
    late = [frame for frame in frames if frame.latency_s is not None and frame.latency_s > 1.0]
    assert len(evening.room.ears.gaps("0")) == 1
    assert late == []
    assert evening.room.engine.streams[0].lag_s < 0.1
    assert 2.0 < evening.room.engine.streams[0].shed_s < 3.5


def test_a_stall_of_the_producer_is_no_reason_to_shed(model: Path) -> None:
    """What comes late but at once is done at once: nothing waits."""
    room = Room(model)
    feed, sound = room.open("mic"), noise(10 * RATE)
    for start in range(0, 5 * RATE, CHUNK):
        room.clock.now += 0.1
        feed.push(sound[start : start + CHUNK].tobytes())
        room.work()
    room.clock.now += 3.5
    feed.push(sound[5 * RATE : 9 * RATE].tobytes())
    room.work()
    assert not room.ears.gaps("mic")
    assert not room.engine.stats.is_degraded
    assert all(shows(frame, sound) for frame in room.ears.frames("mic"))


def test_a_file_is_never_shed_and_waits_instead(model: Path) -> None:
    """Three live streams for which there is hardly time, and a file."""
    evening = Evening(model, 9, cost_s=0.0256)
    sound = noise(60 * RATE, 99)
    data, at = sound.tobytes(), 0
    file = evening.room.open("file")
    room_left = True
    for _ in range(150):
        while room_left or "file" in evening.room.on_writable:
            evening.room.on_writable.clear()
            room_left = file.push(data[at : at + 20_000])
            at += 20_000
            assert at < len(data)
        evening.go_on(0.1)
    waiting = next(stream for stream in evening.room.engine.streams if stream.name == "file")
    assert not waiting.is_live
    assert 0 < waiting.waiting_s <= 4 + 20_000 / 4 / RATE
    frames = evening.room.ears.frames("file")
    assert frames
    assert not evening.room.ears.gaps("file")
    assert [frame.frame for frame in frames] == list(range(len(frames)))
    assert all(shows(frame, sound) for frame in frames)
    for n in range(9):
        assert not evening.room.ears.gaps(str(n))
        assert all(frame.latency_s is not None and frame.latency_s < 1 for frame in evening.room.ears.frames(str(n)))


def test_live_streams_do_not_wait_for_files(model: Path) -> None:
    """With files that always have something, a live stream's hop waits for one step of files at most."""
    evening = Evening(model, 2, cost_s=0.002)
    data = noise(RATE * 4).tobytes()
    files = [evening.room.open(f"file {n}") for n in range(20)]
    for _ in range(50):
        for file in files:
            file.push(data[:20_000])
        evening.go_on(0.1)
    done = sum(len(evening.room.ears.frames(f"file {n}")) for n in range(20))
    assert done > 100
    latencies = [f.latency_s for n in range(2) for f in evening.room.ears.frames(str(n))]
    assert len(latencies) > 20
    most = 0.384 + CHUNK / RATE + 16 * 0.002 + 2 * 0.002 + 0.005
    assert all(latency is not None and latency < most for latency in latencies)


def test_files_take_turns(model: Path) -> None:
    room = Room(model, slots=30, spec=SchedulerConfig(batch_window_s=0, max_streams=30))
    data = noise(RATE * 4).tobytes()
    for n in range(20):
        room.open(str(n)).push(data)
    for _ in range(10):
        room.once()
    counts = [len(room.ears.frames(str(n))) for n in range(20)]
    assert max(counts) - min(counts) <= 1


def test_a_producer_that_does_not_wait_loses_the_oldest_and_is_told(model: Path) -> None:
    """However much it pushes, what waits is bounded."""
    room = Room(model)
    feed, sound = room.open("mic"), noise(60 * RATE)
    answers = [feed.push(sound[start : start + RATE].tobytes()) for start in range(0, 60 * RATE, RATE)]
    assert answers[:3] == [True] * 3
    assert not any(answers[4:])
    limit = 4 * RATE * 4
    assert room.engine.streams[0].waiting_s * RATE * 4 <= 2 * limit + (1 << 20) + RATE * 4
    room.end("mic", feed)
    (gap,) = room.ears.gaps("mic")
    assert gap.lost_s > 20
    frames = room.ears.frames("mic")
    assert missing(frames, [gap], 60) == []
    late = [frame for frame in frames if frame.frame * HOP / RATE > gap.start + gap.lost_s]
    assert late
    assert all(shows(frame, sound) for frame in late)


def test_one_message_of_any_size_is_taken_whole(model: Path) -> None:
    room = Room(model)
    feed, sound = room.open("mic"), noise(30 * RATE)
    assert not feed.push(sound.tobytes())
    assert room.on_writable == []
    room.work()
    assert room.on_writable == ["mic"]
    room.end("mic", feed)
    assert not room.ears.gaps("mic")
    assert len(room.ears.frames("mic")) == 118


def test_there_is_room_for_so_many_and_no_more(model: Path) -> None:
    room = Room(model, slots=8, spec=SchedulerConfig(batch_window_s=0, max_streams=3))
    feeds = [room.open(str(n)) for n in range(3)]
    assert room.engine.stats.room == 0
    with pytest.raises(Busy, match="busy: there is room for 3 streams") as caught:
        room.open("3")
    assert isinstance(caught.value, CapacityError)
    assert caught.value.retry_after_s >= 1
    feeds[0].disconnect()
    with pytest.raises(Busy):
        room.open("3")  # who is away holds its place
    room.open("0", position=0)
    room.end("1", feeds[1])
    assert room.engine.stats.room == 1
    room.open("3")


def test_no_more_than_the_pool_has_slots(model: Path) -> None:
    room = Room(model, slots=2, spec=SchedulerConfig(batch_window_s=0, max_streams=100))
    room.open("0")
    room.open("1")
    with pytest.raises(Busy):
        room.open("2")


def test_nobody_new_while_degraded_but_old_friends_come_back(model: Path) -> None:
    evening = Evening(model, 10, cost_s=0.05)
    evening.go_on(5)
    with pytest.raises(Busy, match="in time") as caught:
        evening.room.open("new")
    assert 1 <= caught.value.retry_after_s <= 5
    evening.feeds[0].disconnect()
    evening.room.open("0")
    for feed in evening.feeds[1:]:
        feed.end()
    evening.room.work()
    evening.clock.now += 5.1
    assert not evening.room.engine.stats.is_degraded
    evening.room.open("new")


def test_room_again_is_told_once_there_is(model: Path) -> None:
    room = Room(model)
    feed = room.open("mic")
    sound = noise(RATE).tobytes()
    while feed.push(sound):
        pass
    assert room.on_writable == []
    assert not feed.push(b"")
    assert room.once()
    assert room.on_writable == []
    room.work()
    assert room.on_writable == ["mic"]
    assert feed.push(sound)


def test_the_largest_format_does_not_fill_the_memory(model: Path) -> None:
    room = Room(model)
    format = PcmFormat(384_000, "f32le", 8)
    feed = room.open("mic", format)
    block = np.zeros(1 << 18, np.float32).tobytes()
    pushed = 1
    while feed.push(block):
        pushed += 1
    assert pushed * len(block) <= 8 << 20
    room.work()
    assert room.on_writable == ["mic"]


def test_what_is_passed_over_joins_what_comes_before_with_what_comes_after(model: Path) -> None:
    """With a real network: the frames are those of the sound that is left, glued, at their own times."""
    tagger = loaded(model)
    sound = noise(20 * HOP, 5) - np.float32(0.45)
    pool = SessionPool(tagger, 1)
    session, frames = pool.add(), []
    session.feed(sound[: 7 * HOP + 100])
    session.skip_hops(5)
    session.feed(sound[12 * HOP + 100 :])
    session.flush()
    while stepped := pool.step():
        frames += stepped[0][1]
    alone = Session(tagger)
    glued = alone.feed(np.concatenate([sound[: 7 * HOP + 100], sound[12 * HOP + 100 :]])) + alone.flush()
    assert [frame.index for frame in frames] == [*range(6), *range(13, 20)]  # 6 waited for sound, 7 to 12 are in it
    for frame in frames:
        other = glued[frame.index if frame.index < 6 else frame.index - 5]
        np.testing.assert_allclose(frame.probs, other.probs, atol=1e-5)
    assert session.seconds == 20 * HOP / RATE
    session.remove()
    with pytest.raises(ValueError, match="gap"):
        pool.add().skip_hops(0)


class Watcher:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float, list[float], int]] = []
        self.shed_s = 0.0

    def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:
        self.steps.append((streams, seconds, list(lags_s), missed))

    def on_shed(self, seconds: float) -> None:
        self.shed_s += seconds


@pytest.mark.parametrize(("cost_s", "late"), [(0.01, False), (0.1, True)])
def test_an_observer_is_told_of_every_step(model: Path, cost_s: float, late: bool) -> None:
    evening = Evening(model, 4, cost_s)
    watcher = Watcher()
    evening.room.engine._crew._observer = watcher
    evening.go_on(6)
    evening.end()
    assert [streams for streams, *_ in watcher.steps] == evening.echo.steps
    assert all(seconds == pytest.approx(cost_s * streams) for streams, seconds, *_ in watcher.steps)
    assert all(len(lags_s) == streams for streams, _, lags_s, _ in watcher.steps)
    assert all(sum(lag > 0.256 for lag in lags_s) == missed for _, _, lags_s, missed in watcher.steps)
    assert (sum(missed for *_, missed in watcher.steps) > 0) is late
    told = sum(gap.lost_s for n in range(4) for gap in evening.room.ears.gaps(str(n)))
    assert watcher.shed_s == pytest.approx(told)
    assert (watcher.shed_s > 0) is late


def test_an_observer_that_fails_stops_nobody(model: Path) -> None:
    class Failing(Watcher):
        def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:
            raise RuntimeError(f"blind: {streams}, {seconds}, {lags_s}, {missed}")

    tagger, ears, bell = loaded(model), Ears(), Bell()
    pool, spec = SessionPool(tagger, 1), SchedulerConfig(max_streams=1)
    with Scheduler(pool, tagger.tags, tagger.thresholds, ears, spec, observer=Failing()) as engine:
        feed = engine.open("mic", PLAIN, None, bell)
        feed.push(noise(30_000).tobytes())
        feed.end()
        while not feed.has_ended:
            bell.wait()
    assert len(ears.frames("mic")) == 8


def test_the_interpreter_is_handed_on_quickly_only_while_an_engine_works(model: Path) -> None:
    tagger, before = loaded(model), sys.getswitchinterval()
    with Scheduler(SessionPool(tagger, 1), tagger.tags, tagger.thresholds, Ears(), SchedulerConfig(max_streams=1)):
        assert sys.getswitchinterval() == pytest.approx(min(before, 0.001))
    assert sys.getswitchinterval() == before
