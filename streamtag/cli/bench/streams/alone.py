"""The engine alone: bytes of many producers pushed into it by the clock, its messages noted as it tells them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from streamtag.cli.bench.streams.pace import FAREWELL_S, Pace, chunks, feed, place
from streamtag.cli.bench.streams.pooled import MOST_AT_ONCE
from streamtag.cli.bench.streams.process import THREAD, Window, cpu_by_thread, cpu_s
from streamtag.cli.bench.streams.tally import Tally, Trial
from streamtag.cli.parallelism import ParallelismPlan
from streamtag.inference.batch import SessionPool
from streamtag.protocol.messages import Frame, Gap, Message
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.pcm_format import PcmFormat
from streamtag.scheduler.scheduler import ProducerHandle, Scheduler
from streamtag.scheduler.stats import NullObserver

if TYPE_CHECKING:
    from streamtag.api import Tagger

BATCH, GPU_BATCH = 64, 512  # streams of a step at most


class Producers:
    """All of them, in the thread that feeds. One that is held up says nothing until there is room: a gap."""

    def __init__(self, pace: Pace, engine: Scheduler, streams: int, tally: Tally) -> None:
        self._chunks = chunks(pace)
        self._tally = tally
        self._held: set[int] = set()
        format = PcmFormat(pace.rate, "s16le", 1)
        self._feeds = [self._open(engine, format, stream) for stream in range(streams)]

    def push(self, stream: int, chunk: int) -> None:
        if stream in self._held:
            self._tally.gap(stream)
        elif not self._feeds[stream].push(self._chunks[place(stream, chunk, len(self._chunks))]):
            self._held.add(stream)

    def end(self) -> None:
        for producer in self._feeds:
            producer.end()

    def _open(self, engine: Scheduler, format: PcmFormat, stream: int) -> ProducerHandle:
        return engine.open(str(stream), format, None, lambda: self._held.discard(stream))


class Listener:
    """Notes what the engine tells; called by its workers."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def tell(self, messages: Sequence[Message]) -> None:
        now = time.monotonic()
        for message in messages:
            if isinstance(message, Frame):
                self._tally.frame(int(message.stream), message.frame, now)
            elif isinstance(message, Gap):
                self._tally.gap(int(message.stream))


class Steps(NullObserver):
    """The engine's steps: how many streams each had, and how long it took, s."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.seconds: list[float] = []

    def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:
        del lags_s, missed
        self.sizes.append(streams)
        self.seconds.append(seconds)

    def figures(self) -> dict[str, float]:
        hops = max(1, sum(self.sizes))
        return {
            "batch_mean": hops / max(1, len(self.sizes)),
            "batch_max": max(self.sizes, default=0),
            "worker_ms_a_hop": 1e3 * sum(self.seconds) / hops,
        }


def engine_trial(
    tagger: Tagger, pace: Pace, streams: int, workforce: ParallelismPlan, precision: str = "float32"
) -> Trial:
    tally, steps = Tally(pace, range(streams)), Steps()
    batch = BATCH if tagger.device == "cpu" else GPU_BATCH
    spec = SchedulerConfig(workers=workforce.threads, max_streams=streams, batch=batch)
    with ExitStack() as resources:
        pool = resources.enter_context(SessionPool(tagger, streams, precision, workforce.processes))
        pool.warm_up(MOST_AT_ONCE)
        tell = Listener(tally).tell
        engine = resources.enter_context(Scheduler(pool, tagger.tags, tagger.thresholds, tell, spec, observer=steps))
        producers = Producers(pace, engine, streams, tally)
        start = time.monotonic() + 0.1
        with Window(pace, start, partial(_cpu, threading.get_native_id(), pool.pids)) as window:
            late = feed(pace, range(streams), start, producers.push)
            until = time.monotonic() + FAREWELL_S
            while not tally.complete() and time.monotonic() < until:
                time.sleep(FAREWELL_S / 20)
        trial = tally.trial(
            start, late, **steps.figures(), device_bytes_a_stream=pool.slot_bytes, **window.percent_of_a_core()
        )
        producers.end()
    return trial


def _cpu(feeding: int, workers: Sequence[int]) -> dict[str, float]:
    """CPU time so far, s, of the engine without the thread `feeding`, of that thread, of its worker processes, and of
    each other thread."""
    threads = cpu_by_thread(os.getpid())
    clients = threads.pop(feeding, float("nan"))
    others = {f"{THREAD}{number}": seconds for number, seconds in threads.items()}
    working = sum(map(cpu_s, workers))
    cpu = time.process_time() - clients + working
    return {"cpu": cpu, "clients_cpu": clients, "workers_cpu": working, **others}
