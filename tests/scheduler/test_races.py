"""Everything at once, from many threads: no sound is lost, heard twice or mixed up, and everything ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamtag.inference.batch import SessionPool
from streamtag.protocol.messages import Event
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.registry import Busy, UnknownStream
from streamtag.scheduler.scheduler import ProducerHandle, Scheduler
from tests.scheduler.scheduler_room import PATIENCE_S, PLAIN, Bell, Ears, Echo, loaded, noise, shows

SPEC = SchedulerConfig(
    workers=4, batch=5, batch_window_s=0.001, max_streams=60, reconnect_grace_s=60, degraded_s=0.001, drain_timeout_s=20
)


def echo_engine(
    model: Path, ears: Ears, spec: SchedulerConfig = SPEC, before: Callable[[int], None] | None = None
) -> Scheduler:
    tagger = loaded(model)
    pool = SessionPool(tagger, 60)
    pool._network = Echo(len(tagger.tags), before)  # type: ignore[assignment]
    return Scheduler(pool, tagger.tags, tagger.thresholds, ears, spec, "m")


class Producer(threading.Thread):
    """Streams one sound after the other, breaks off, comes back, asks for its state, and ends or moves."""

    def __init__(self, engine: Scheduler, number: int, streams: int) -> None:
        super().__init__(name=f"producer-{number}")
        self.engine, self.number, self.streams = engine, number, streams
        self.rng = np.random.default_rng(number)
        self.sounds: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
        self.failure: BaseException | None = None
        self.states = 0

    def run(self) -> None:
        try:
            for turn in range(self.streams):
                name = f"{self.number}/{turn}"
                self.sounds[name] = noise(int(self.rng.integers(0, 90_000)), 100 * self.number + turn)
                self._stream(name, self.sounds[name].tobytes())
        except BaseException as error:
            self.failure = error

    def _stream(self, name: str, data: bytes) -> None:
        bell = Bell()
        feed, at = self._open(name, None, bell), 0
        while at < len(data):
            size = int(self.rng.choice([1, 5, 400, 5000, 40_000]))
            room = feed.push(data[at : at + size])
            at = min(len(data), at + size)
            chance = self.rng.random()
            if chance < 0.04:
                feed.disconnect()
                position = max(0, feed.position - int(self.rng.integers(0, 3000)))
                feed = self._open(name, position, bell)
                at, room = 4 * position, True
            elif chance < 0.08:
                assert self.engine.export_state(name).result(PATIENCE_S)
                self.states += 1
            if not room:
                bell.wait()
        feed.end()
        while not feed.has_ended:
            bell.wait()

    def _open(self, name: str, position: int | None, bell: Bell) -> ProducerHandle:
        """A moment of lateness is no failure here."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.engine.open(name, PLAIN, position, bell)
            except Busy:
                assert time.monotonic() < until
                threading.Event().wait(0.002)


def test_many_threads_do_everything_at_once(model: Path) -> None:
    ears = Ears()
    with echo_engine(model, ears) as engine:
        producers = [Producer(engine, number, 25) for number in range(8)]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.join(120)
            assert not producer.is_alive()
        assert [producer.failure for producer in producers] == [None] * 8
        assert engine.stats.streams == 0
    assert sum(producer.states for producer in producers) > 100
    told = {message.stream for message in ears.messages if not isinstance(message, Event)}  # type: ignore[attr-defined]
    sounds = {name: sound for producer in producers for name, sound in producer.sounds.items()}
    assert told == sounds.keys()
    for name, sound in sounds.items():
        frames, gaps = ears.frames(name), ears.gaps(name)
        assert not gaps
        assert [frame.frame for frame in frames] == list(range(-(-len(sound) // 4096)))
        assert all(shows(frame, sound) for frame in frames)
        assert ears.ends(name)[0].frames == len(frames)
        assert ears.of(name)[-1] is ears.ends(name)[0]


def test_the_engine_is_left_while_everybody_pushes(model: Path) -> None:
    ears, feeds, go_on = Ears(), [], threading.Event()
    failures: list[BaseException] = []
    sounds = [noise(200_000, n) for n in range(10)]

    def push(feed: ProducerHandle, data: bytes, bell: Bell) -> None:
        try:
            for start in range(0, len(data), 3000):
                if start == 30_000:
                    go_on.set()
                if not feed.push(data[start : start + 3000]):
                    bell.wait()
        except BaseException as error:
            failures.append(error)

    threads = []
    with echo_engine(model, ears) as engine:
        for n, sound in enumerate(sounds):
            bell = Bell()
            feeds.append(engine.open(str(n), PLAIN, None, bell))
            threads.append(threading.Thread(target=push, args=(feeds[-1], sound.tobytes(), bell)))
            threads[-1].start()
        assert go_on.wait(PATIENCE_S)
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert not failures
    assert all(feed.has_ended for feed in feeds)
    for n, sound in enumerate(sounds):
        (end,) = ears.ends(str(n))
        assert ears.of(str(n))[-1] is end
        frames = ears.frames(str(n))
        assert [frame.frame for frame in frames] == list(range(len(frames)))
        heard = sound[: round(end.seconds * 16000)]
        assert all(shows(frame, heard) for frame in frames)
    with pytest.raises(Busy, match="about to end"):
        engine.open("late", PLAIN, None, lambda: None)
    with pytest.raises(UnknownStream):
        engine.export_state("0")
    with pytest.raises(Busy):
        engine.import_state("late", b"")


def test_an_engine_whose_step_hangs_is_left_all_the_same(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is computed any more; whoever waits for something is told."""
    monkeypatch.setattr("streamtag.scheduler.worker_threads.JOIN_S", 0.2)
    ears, hangs, let_go = Ears(), threading.Event(), threading.Event()

    def hang(streams: int) -> None:
        del streams
        hangs.set()
        let_go.wait(PATIENCE_S)

    spec = SchedulerConfig(workers=1, batch_window_s=0, max_streams=5, drain_timeout_s=0.1)
    bell = Bell()
    try:
        with echo_engine(model, ears, spec, hang) as engine:
            first = engine.open("first", PLAIN, None, bell)
            second = engine.open("second", PLAIN, None, bell)
            first.push(noise(5000).tobytes())
            assert hangs.wait(PATIENCE_S)
            second.push(noise(9000).tobytes())
            state: Future[bytes] = engine.export_state("second")
            adoption: Future[int] = engine.import_state("third", b"junk")
        assert first.has_ended
        assert second.has_ended
        bell.wait()
        assert isinstance(state.exception(1), UnknownStream)
        assert adoption.exception(1) is not None
    finally:
        let_go.set()


def test_an_engine_too_slow_to_end_in_time_tells_what_it_leaves_out(model: Path) -> None:
    """The sound that nobody heard is a gap, and every stream has its end."""
    ears, began, let_go = Ears(), threading.Event(), threading.Event()

    def slow(streams: int) -> None:
        del streams
        began.set()
        let_go.wait(PATIENCE_S)

    spec = SchedulerConfig(workers=1, batch=1, batch_window_s=0, max_streams=5, drain_timeout_s=0.1)
    timer = threading.Timer(1.0, let_go.set)
    with echo_engine(model, ears, spec, slow) as engine:
        for name in ("a", "b", "c"):
            engine.open(name, PLAIN, None, lambda: None).push(noise(30_000).tobytes())
        assert began.wait(PATIENCE_S)
        timer.start()
    timer.join()
    for name in ("a", "b", "c"):
        (end,) = ears.ends(name)
        assert ears.of(name)[-1] is end
    assert sum(len(ears.gaps(name)) for name in ("a", "b", "c")) >= 2
    for name in ("b", "c"):
        gap = ears.gaps(name)[0]
        assert gap.start + gap.lost_s == pytest.approx(30_000 / 16000, abs=1e-3)


def test_messages_that_cannot_be_told_stop_nothing(model: Path) -> None:
    ears, fail = Ears(), threading.Event()

    def tell(messages: Any) -> None:
        if not fail.is_set():
            fail.set()
            raise RuntimeError("no ears")
        ears(messages)

    tagger = loaded(model)
    with Scheduler(
        SessionPool(tagger, 1), tagger.tags, tagger.thresholds, tell, SchedulerConfig(max_streams=1)
    ) as engine:
        bell = Bell()
        feed = engine.open("mic", PLAIN, None, bell)
        feed.push(noise(30_000).tobytes())
        feed.end()
        while not feed.has_ended:
            bell.wait()
    assert ears.ends("mic")
