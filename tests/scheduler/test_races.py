"""Everything at once, from many threads: no audio is lost, processed twice or mixed up, and every stream ends."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamtag.protocol.messages import Event, Message
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.producer_handle import ProducerHandle
from streamtag.scheduler.registry import UnknownStream
from streamtag.scheduler.scheduler import Scheduler
from streamtag.scheduler.stats import Busy, Observer
from tests.scheduler.harness import PLAIN, TIMEOUT_S, EchoPool, MessageLog, Signal, load_tagger, noise, shows

CONFIG = SchedulerConfig(
    workers=4,
    batch=5,
    batch_window_s=0.001,
    max_streams=60,
    reconnect_grace_s=60,
    degraded_s=0.001,
    drain_timeout_s=20,
)
ONE_WORKER = SchedulerConfig(batch=1, batch_window_s=0, max_streams=5, drain_timeout_s=0.1)


def make_scheduler(
    model: Path,
    publish: Callable[[Sequence[Message]], None],
    config: SchedulerConfig = CONFIG,
    before_step: Callable[[int], None] | None = None,
    observer: Observer | None = None,
    join_timeout_s: float = 10.0,
) -> Scheduler:
    tagger = load_tagger(model)
    pool = EchoPool(tagger, 60, before_step)
    return Scheduler(pool, publish, config, "m", observer, join_timeout_s=join_timeout_s)


class Producer(threading.Thread):
    """Send one sound after the other, disconnect, return, ask for states, and end."""

    def __init__(self, scheduler: Scheduler, number: int, streams: int) -> None:
        super().__init__(name=f"producer-{number}")
        self.scheduler, self.number, self.streams = scheduler, number, streams
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
        signal = Signal()
        handle, at = self._open(name, None, signal), 0
        while at < len(data):
            size = int(self.rng.choice([1, 5, 400, 5000, 40_000]))
            has_room = handle.push(data[at : at + size])
            at = min(len(data), at + size)
            chance = self.rng.random()
            if chance < 0.04:
                handle.disconnect()
                position = max(0, handle.position - int(self.rng.integers(0, 3000)))
                handle = self._open(name, position, signal)
                at, has_room = 4 * position, True
            elif chance < 0.08:
                assert self.scheduler.export_state(name).result(TIMEOUT_S)
                self.states += 1
            if not has_room:
                signal.wait()
        handle.end()
        signal.wait_for_end(handle)

    def _open(self, name: str, position: int | None, signal: Signal) -> ProducerHandle:
        """Retry while the scheduler is busy: a moment of lateness is not a failure here."""
        until = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return self.scheduler.open(name, PLAIN, position, signal)
            except Busy:
                assert time.monotonic() < until
                threading.Event().wait(0.002)


def test_many_threads_do_everything_at_once(model: Path) -> None:
    log = MessageLog()
    with make_scheduler(model, log) as scheduler:
        producers = [Producer(scheduler, number, 15) for number in range(8)]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.join(120)
            assert not producer.is_alive()
        assert [producer.failure for producer in producers] == [None] * 8
        assert scheduler.stats.streams == 0
    assert sum(producer.states for producer in producers) > 60
    names = {message.stream for message in log.messages if not isinstance(message, Event)}  # type: ignore[attr-defined]
    sounds = {name: sound for producer in producers for name, sound in producer.sounds.items()}
    assert names == sounds.keys()
    for name, sound in sounds.items():
        frames, gaps = log.frames(name), log.gaps(name)
        assert not gaps
        assert [frame.frame for frame in frames] == list(range(-(-len(sound) // 4096)))
        assert all(shows(frame, sound) for frame in frames)
        assert log.ends(name)[0].frames == len(frames)
        assert log.of(name)[-1] is log.ends(name)[0]


def test_the_scheduler_is_closed_while_all_producers_push(model: Path) -> None:
    log, handles, is_under_way = MessageLog(), [], threading.Event()
    failures: list[BaseException] = []
    sounds = [noise(200_000, n) for n in range(10)]

    def push(handle: ProducerHandle, data: bytes, signal: Signal) -> None:
        try:
            for start in range(0, len(data), 3000):
                if start == 30_000:
                    is_under_way.set()
                if not handle.push(data[start : start + 3000]):
                    signal.wait()
        except BaseException as error:
            failures.append(error)

    threads = []
    with make_scheduler(model, log) as scheduler:
        for n, sound in enumerate(sounds):
            signal = Signal()
            handles.append(scheduler.open(str(n), PLAIN, None, signal))
            threads.append(threading.Thread(target=push, args=(handles[-1], sound.tobytes(), signal)))
            threads[-1].start()
        assert is_under_way.wait(TIMEOUT_S)
    for thread in threads:
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()
    assert not failures
    assert all(handle.has_ended for handle in handles)
    assert not any(thread.name.startswith("streamtag-worker") for thread in threading.enumerate())
    for n, sound in enumerate(sounds):
        (end,) = log.ends(str(n))
        assert log.of(str(n))[-1] is end
        frames = log.frames(str(n))
        assert [frame.frame for frame in frames] == list(range(len(frames)))
        sent = sound[: round(end.seconds * 16000)]
        assert all(shows(frame, sent) for frame in frames)
    with pytest.raises(Busy, match="about to end"):
        scheduler.open("late", PLAIN, None, lambda: None)
    with pytest.raises(UnknownStream):
        scheduler.export_state("0")
    with pytest.raises(Busy):
        scheduler.import_state("late", b"")


def test_a_scheduler_whose_step_hangs_can_be_closed(model: Path) -> None:
    """Nothing more is processed; every waiting caller is notified."""
    hangs, let_go = threading.Event(), threading.Event()

    def hang(streams: int) -> None:
        del streams
        hangs.set()
        let_go.wait(TIMEOUT_S)

    signal = Signal()
    try:
        with make_scheduler(model, MessageLog(), ONE_WORKER, hang, join_timeout_s=0.2) as scheduler:
            first = scheduler.open("first", PLAIN, None, signal)
            second = scheduler.open("second", PLAIN, None, signal)
            first.push(noise(5000).tobytes())
            assert hangs.wait(TIMEOUT_S)
            second.push(noise(9000).tobytes())
            state: Future[bytes] = scheduler.export_state("second")
            position: Future[int] = scheduler.import_state("third", b"junk")
        assert first.has_ended
        assert second.has_ended
        signal.wait()
        assert isinstance(state.exception(1), UnknownStream)
        assert position.exception(1) is not None
    finally:
        let_go.set()


def test_a_scheduler_that_is_too_slow_to_end_in_time_reports_what_it_leaves_out(model: Path) -> None:
    log, began, let_go = MessageLog(), threading.Event(), threading.Event()

    def slow(streams: int) -> None:
        del streams
        began.set()
        let_go.wait(TIMEOUT_S)

    timer = threading.Timer(0.5, let_go.set)
    with make_scheduler(model, log, ONE_WORKER, slow) as scheduler:
        for name in ("a", "b", "c"):
            scheduler.open(name, PLAIN, None, lambda: None).push(noise(30_000).tobytes())
        assert began.wait(TIMEOUT_S)
        timer.start()
    timer.join()
    for name in ("a", "b", "c"):
        (end,) = log.ends(name)
        assert log.of(name)[-1] is end
    assert sum(len(log.gaps(name)) for name in ("a", "b", "c")) >= 2
    for name in ("b", "c"):
        gap = log.gaps(name)[0]
        assert gap.start + gap.lost_s == pytest.approx(30_000 / 16000, abs=1e-3)


class FailingObserver(Observer):
    def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:
        raise RuntimeError(f"{streams}, {seconds}, {lags_s}, {missed}")


@pytest.mark.parametrize("fails", ["publish", "observer", "producer"])
def test_callbacks_that_fail_stop_nothing(model: Path, fails: str) -> None:
    log, has_failed, signal = MessageLog(), threading.Event(), Signal()

    def publish(messages: Sequence[Message]) -> None:
        if fails == "publish" and not has_failed.is_set():
            has_failed.set()
            raise RuntimeError("no subscribers")
        log(messages)

    def on_writable() -> None:
        signal()
        if fails == "producer":
            raise RuntimeError("no loop")

    observer = FailingObserver() if fails == "observer" else None
    with make_scheduler(model, publish, ONE_WORKER, observer=observer) as scheduler:
        for name in ("first", "second"):
            handle = scheduler.open(name, PLAIN, None, on_writable)
            handle.push(noise(30_000).tobytes())
            handle.end()
            signal.wait_for_end(handle)
    assert log.ends("first")
    assert len(log.frames("second")) == 8


def test_the_switch_interval_is_restored_after_the_last_of_several_schedulers(model: Path) -> None:
    before = sys.getswitchinterval()
    first, second = (make_scheduler(model, MessageLog(), ONE_WORKER) for _ in range(2))
    with first:
        second.__enter__()
        assert sys.getswitchinterval() == pytest.approx(min(before, 0.001))
    assert sys.getswitchinterval() == pytest.approx(min(before, 0.001))  # the second still works
    second.close()
    assert sys.getswitchinterval() == before
