"""Under overload nobody new is admitted, audio that waits too long is shed and reported, and memory stays bounded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from streamtag.audio.pcm import PcmFormat
from streamtag.inference.batch import SessionPool
from streamtag.inference.session import Session
from streamtag.protocol.messages import Frame
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.stats import Busy, Observer
from tests.scheduler.harness import HOP, RATE, Harness, load_tagger, noise, shows, unexplained

CHUNK = 1600  # samples, of 0.1 s


class RecordingObserver(Observer):
    """Record the calls of an observer."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float, list[float], int]] = []
        self.shed_s = 0.0

    def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:
        self.steps.append((streams, seconds, list(lags_s), missed))

    def on_shed(self, seconds: float) -> None:
        self.shed_s += seconds


class Simulation:
    """Live producers that push 0.1 s of audio at a time by a fake clock, while each step takes cost_s per stream."""

    def __init__(self, model: Path, producers: int, cost_s: float) -> None:
        self.observer = RecordingObserver()
        config = SchedulerConfig(batch_window_s=0, max_streams=32)
        self.harness = Harness(model, 32, config=config, before_step=self._take_time, observer=self.observer)
        self.log, self.scheduler, self.clock = self.harness.log, self.harness.scheduler, self.harness.clock
        self.cost_s = cost_s
        self.sounds = [noise(RATE * 60, n) for n in range(producers)]
        self.producers = [self.harness.open(str(n)) for n in range(producers)]
        self.chunks = 0
        self.start = self.clock.now
        self.max_waiting_s = 0.0

    def run(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self.clock.now < until:
            self._push()
            if not self.harness.run_one():
                self.clock.now = min(until, self.start + (self.chunks + 1) * CHUNK / RATE)
        self._push()

    def end(self) -> None:
        for producer in self.producers:
            producer.end()
        self.harness.run_all()

    @property
    def seconds(self) -> float:
        return self.chunks * CHUNK / RATE

    def sent(self, n: int) -> np.ndarray:
        return self.sounds[n][: self.chunks * CHUNK]

    def _push(self) -> None:
        """Push each chunk at its time, also those whose time came during a step."""
        now = self.clock.now
        while (due := self.start + (self.chunks + 1) * CHUNK / RATE) <= now + 1e-9:
            self.clock.now = due
            part = slice(self.chunks * CHUNK, (self.chunks + 1) * CHUNK)
            for producer, sound in zip(self.producers, self.sounds, strict=True):
                assert producer.push(sound[part].tobytes())  # a live producer is never asked to pause
            self.chunks += 1
        self.clock.now = now
        self.max_waiting_s = max(self.max_waiting_s, *(stream.waiting_s for stream in self.scheduler.streams))

    def _take_time(self, streams: int) -> None:
        self.clock.now += self.cost_s * streams


def is_whole(frame: Frame, gaps: list[tuple[float, float]]) -> bool:
    """Return whether no part of the hop that an echo shows was lost."""
    begin = (frame.frame * HOP + HOP // 2) / RATE
    return not any(start < begin + HOP / RATE and end > begin for start, end in gaps)


def test_nothing_is_lost_of_what_can_be_processed_in_time(model: Path) -> None:
    """The negative control: the same at half the cost."""
    simulation = Simulation(model, 10, cost_s=0.01)
    simulation.run(20)
    simulation.end()
    assert not simulation.scheduler.stats.is_degraded
    for n in range(10):
        frames = simulation.log.frames(str(n))
        assert not simulation.log.gaps(str(n))
        assert unexplained(frames, [], simulation.seconds) == []
        assert all(shows(frame, simulation.sent(n)) for frame in frames)


@pytest.mark.parametrize("overload", [1.25, 2.0, 6.0, 20.0])
def test_audio_that_waits_too_long_is_shed_and_every_gap_is_reported(model: Path, overload: float) -> None:
    simulation = Simulation(model, 10, cost_s=0.0256 * overload)
    simulation.run(30)
    assert simulation.scheduler.stats.is_degraded
    assert simulation.scheduler.stats.room == 0
    assert simulation.max_waiting_s <= 4.0 + CHUNK / RATE
    simulation.end()
    count = 0
    for n in range(10):
        frames, gaps = simulation.log.frames(str(n)), simulation.log.gaps(str(n))
        assert gaps
        assert frames
        assert unexplained(frames, gaps, simulation.seconds) == []
        spans = [(gap.start, gap.start + gap.lost_s) for gap in gaps]
        assert spans == sorted(spans)
        assert not any(a < (f.start + f.end) / 2 < b - 1e-9 for f in frames for a, b in spans)
        assert [f.frame for f in frames] == sorted({f.frame for f in frames})
        whole = [frame for frame in frames if is_whole(frame, spans)]
        assert all(shows(frame, simulation.sent(n)) for frame in whole)
        assert len(whole) > len(frames) / 4
        count += len(frames)
        assert simulation.log.ends(str(n))[0].seconds == pytest.approx(simulation.seconds, abs=0.3)
        lost_s = sum(gap.lost_s for gap in gaps)
        assert len(frames) * 0.256 + lost_s == pytest.approx(simulation.seconds, rel=0.1)
    assert count > 0.5 * 10 * 30 / 0.256 / overload  # most of the time goes into frames


def test_a_stream_that_shed_audio_is_up_to_date_again(model: Path) -> None:
    simulation = Simulation(model, 4, cost_s=0.001)
    simulation.run(5)
    simulation.clock.now += 3
    simulation.run(5)
    frames = simulation.log.frames("0")
    assert len(simulation.log.gaps("0")) == 1
    assert [frame for frame in frames if frame.latency_s is not None and frame.latency_s > 1.0] == []
    stream = simulation.scheduler.streams[0]
    assert stream.lag_s < 0.1
    assert 2.0 < stream.shed_s < 3.5


def test_audio_that_arrives_late_but_at_once_is_not_shed(harness: Harness) -> None:
    producer, sound = harness.open("mic"), noise(10 * RATE)
    for start in range(0, 5 * RATE, CHUNK):
        harness.clock.now += 0.1
        producer.push(sound[start : start + CHUNK].tobytes())
        harness.run_all()
    harness.clock.now += 3.5
    producer.push(sound[5 * RATE : 9 * RATE].tobytes())
    harness.run_all()
    assert not harness.log.gaps("mic")
    assert not harness.scheduler.stats.is_degraded
    assert all(shows(frame, sound) for frame in harness.log.frames("mic"))


def test_a_file_is_never_shed_and_waits_for_live_streams(model: Path) -> None:
    """Live streams for which there is hardly time, and a file."""
    simulation = Simulation(model, 9, cost_s=0.0256)
    sound = noise(60 * RATE, 99)
    data, at, has_room = sound.tobytes(), 0, True
    file = simulation.harness.open("file")
    for _ in range(150):
        while has_room or "file" in simulation.harness.notified:
            simulation.harness.notified.clear()
            has_room = file.push(data[at : at + 20_000])
            at += 20_000
            assert at < len(data)
        simulation.run(0.1)
    stream = next(stream for stream in simulation.scheduler.streams if stream.name == "file")
    assert not stream.is_live
    assert 0 < stream.waiting_s <= 4 + 20_000 / 4 / RATE
    frames = simulation.log.frames("file")
    assert frames
    assert not simulation.log.gaps("file")
    assert [frame.frame for frame in frames] == list(range(len(frames)))
    assert all(shows(frame, sound) for frame in frames)
    for n in range(9):
        assert not simulation.log.gaps(str(n))
        assert all(frame.latency_s is not None and frame.latency_s < 1 for frame in simulation.log.frames(str(n)))


def test_a_live_stream_waits_for_one_step_of_files_at_most(model: Path) -> None:
    simulation = Simulation(model, 2, cost_s=0.002)
    data = noise(RATE * 4).tobytes()
    files = [simulation.harness.open(f"file {n}") for n in range(20)]
    for _ in range(50):
        for file in files:
            file.push(data[:20_000])
        simulation.run(0.1)
    counts = [len(simulation.log.frames(f"file {n}")) for n in range(20)]
    assert sum(counts) > 100
    assert max(counts) - min(counts) <= 1  # they take turns
    latencies = [f.latency_s for n in range(2) for f in simulation.log.frames(str(n))]
    assert len(latencies) > 20
    most = 0.384 + CHUNK / RATE + 16 * 0.002 + 2 * 0.002 + 0.005
    assert all(latency is not None and latency < most for latency in latencies)


def test_a_producer_that_ignores_requests_to_pause_loses_its_oldest_audio(harness: Harness) -> None:
    """However much it pushes, what waits is bounded."""
    producer, sound = harness.open("mic"), noise(60 * RATE)
    has_room = [producer.push(sound[start : start + RATE].tobytes()) for start in range(0, 60 * RATE, RATE)]
    assert has_room[:3] == [True] * 3
    assert not any(has_room[4:])
    assert harness.scheduler.streams[0].waiting_s * RATE * 4 <= 2 * (4 * RATE * 4) + (1 << 20) + RATE * 4
    harness.end("mic", producer)
    (gap,) = harness.log.gaps("mic")
    assert gap.lost_s > 20
    frames = harness.log.frames("mic")
    assert unexplained(frames, [gap], 60) == []
    late = [frame for frame in frames if frame.frame * HOP / RATE > gap.start + gap.lost_s]
    assert late
    assert all(shows(frame, sound) for frame in late)


def test_one_message_of_any_size_is_accepted_and_room_again_is_notified(harness: Harness) -> None:
    producer, sound = harness.open("mic"), noise(10 * RATE)
    assert not producer.push(sound.tobytes())
    assert not producer.push(b"")
    assert harness.run_one()
    assert harness.notified == []
    harness.run_all()
    assert harness.notified == ["mic"]
    assert producer.push(b"")
    harness.end("mic", producer)
    assert not harness.log.gaps("mic")
    assert len(harness.log.frames("mic")) == 40


def test_the_largest_format_does_not_fill_the_memory(harness: Harness) -> None:
    producer = harness.open("mic", PcmFormat(384_000, "f32le", 8))
    block = np.zeros(1 << 18, np.float32).tobytes()
    pushed = 1
    while producer.push(block):
        pushed += 1
    assert pushed * len(block) <= 8 << 20
    harness.run_all()
    assert harness.notified == ["mic"]


def test_a_degraded_scheduler_admits_only_streams_that_return(model: Path) -> None:
    simulation = Simulation(model, 10, cost_s=0.05)
    simulation.run(5)
    with pytest.raises(Busy, match="in time") as caught:
        simulation.harness.open("new")
    assert 1 <= caught.value.retry_after_s <= 5
    simulation.producers[0].disconnect()
    simulation.harness.open("0")
    for producer in simulation.producers[1:]:
        producer.end()
    simulation.harness.run_all()
    simulation.clock.now += 5.1
    assert not simulation.scheduler.stats.is_degraded
    simulation.harness.open("new")


def test_skipped_hops_join_what_comes_before_with_what_comes_after(model: Path) -> None:
    """With a real network: the frames are those of the audio that is left, joined, at their own times."""
    tagger = load_tagger(model)
    sound = noise(20 * HOP, 5) - np.float32(0.45)
    pool = SessionPool(tagger, 1)
    session, frames = pool.add(), []
    session.feed(sound[: 7 * HOP + 100])
    session.skip_hops(5)
    session.feed(sound[12 * HOP + 100 :])
    session.flush()
    while stepped := pool.step():
        frames += stepped[0][1]
    reference = Session(tagger)
    joined = reference.feed(np.concatenate([sound[: 7 * HOP + 100], sound[12 * HOP + 100 :]])) + reference.flush()
    assert [frame.index for frame in frames] == [*range(6), *range(13, 20)]  # 6 waited for audio, 7 to 12 are in it
    for frame in frames:
        other = joined[frame.index if frame.index < 6 else frame.index - 5]
        np.testing.assert_allclose(frame.probs, other.probs, atol=1e-5)
    assert session.seconds == 20 * HOP / RATE


@pytest.mark.parametrize(("cost_s", "is_late"), [(0.01, False), (0.1, True)])
def test_an_observer_is_notified_of_every_step(model: Path, cost_s: float, is_late: bool) -> None:
    simulation = Simulation(model, 4, cost_s)
    simulation.run(6)
    simulation.end()
    steps, shed_s = simulation.observer.steps, simulation.observer.shed_s
    assert [streams for streams, *_ in steps] == simulation.harness.steps
    assert all(seconds == pytest.approx(cost_s * streams) for streams, seconds, *_ in steps)
    assert all(len(lags_s) == streams for streams, _, lags_s, _ in steps)
    assert all(sum(lag > 0.256 for lag in lags_s) == missed for _, _, lags_s, missed in steps)
    assert (sum(missed for *_, missed in steps) > 0) is is_late
    lost_s = sum(gap.lost_s for n in range(4) for gap in simulation.log.gaps(str(n)))
    assert shed_s == pytest.approx(lost_s)
    assert (shed_s > 0) is is_late
