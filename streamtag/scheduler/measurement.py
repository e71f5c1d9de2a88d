"""What the work costs on this machine, measured before it begins in earnest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Barrier, Thread
from typing import TYPE_CHECKING

import numpy as np

from streamtag.inference.events import EventDetectorBank
from streamtag.protocol.messages import Message
from streamtag.scheduler.capacity import Cost
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.ingest_buffer import IngestBuffer
from streamtag.scheduler.pcm_format import PcmFormat
from streamtag.scheduler.processor import BatchProcessor
from streamtag.scheduler.stream import HOP_S, ScheduledStream

if TYPE_CHECKING:
    from streamtag.inference.batch import SessionPool

FORMAT = PcmFormat(48000, "f32le", 1)  # what a browser sends: of the usual formats the one that costs most
WARM_UP = 2  # steps that are not counted: the network's first, and the hop that has no frame
LEAST = 3  # steps that are
ALONE = 0.2  # of the time, for steps of one stream


def measured(pool: SessionPool, tags: Sequence[str], thresholds: Sequence[float], spec: SchedulerConfig) -> Cost:
    """All workers step full batches of noise for SchedulerConfig.measure_s, messages and their JSON included; then they
    step one stream each. The pool must have all its slots free, and has them again."""
    workers = min(spec.workers, pool.slots)
    streams = max(1, min(spec.batch, pool.slots // workers))
    alone = _step_s(pool, tags, thresholds, spec, workers, 1, ALONE * spec.measure_s)
    if streams == 1:
        return Cost(0.0, alone)
    together = _step_s(pool, tags, thresholds, spec, workers, streams, (1 - ALONE) * spec.measure_s)
    stream_s = max(1e-9, (together - alone) / (streams - 1))
    return Cost(max(0.0, alone - stream_s), stream_s)


def _step_s(
    pool: SessionPool,
    tags: Sequence[str],
    thresholds: Sequence[float],
    spec: SchedulerConfig,
    workers: int,
    streams: int,
    seconds: float,
) -> float:
    """CPU time of a step of so many while all workers work."""
    work = BatchProcessor(pool, EventDetectorBank(tags, thresholds, workers * streams), _as_json, "", time.monotonic)
    readings: list[float] = []
    together = Barrier(workers, action=lambda: readings.append(pool.cpu_s()))  # before what counts, and behind it
    failures: list[BaseException] = []

    counts: list[int] = []

    def run() -> None:
        try:
            crowd = SyntheticStreams(work, spec, streams)
            for _ in range(WARM_UP):
                crowd.step()
            together.wait()
            until, count = time.monotonic() + seconds, 0
            while count < LEAST or time.monotonic() < until:
                crowd.step()
                count += 1
            counts.append(count)
            together.wait()
            crowd.leave()
        except BaseException as error:
            failures.append(error)
            together.abort()

    threads = [Thread(target=run, name="streamtag-measure") for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return (readings[1] - readings[0]) / sum(counts)


class SyntheticStreams:
    """So many streams of noise, which one worker steps."""

    def __init__(self, work: BatchProcessor, spec: SchedulerConfig, count: int) -> None:
        now, samples = time.monotonic(), round(HOP_S * FORMAT.rate)
        self._work = work
        self._sound = np.random.default_rng(0).standard_normal(samples, np.float32).astype("<f4").tobytes()
        self._streams = [
            ScheduledStream(str(n), IngestBuffer(FORMAT, spec, now), spec, now, None) for n in range(count)
        ]

    def step(self) -> None:
        now = time.monotonic()
        for stream in self._streams:
            stream.inlet.push(self._sound, now)
        self._work.step(self._streams)

    def leave(self) -> None:
        self._work.close(self._streams)


def _as_json(messages: Sequence[Message]) -> None:
    for message in messages:
        message.to_json()
