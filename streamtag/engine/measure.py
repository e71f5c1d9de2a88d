"""What the work costs on this machine, measured before it begins in earnest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np

from streamtag.engine.board import Board
from streamtag.engine.capacity import Cost
from streamtag.engine.inlet import Inlet
from streamtag.engine.pcm import PcmFormat
from streamtag.engine.spec import EngineSpec
from streamtag.engine.stream import HOP_S, EngineStream
from streamtag.engine.work import Work
from streamtag.message import Message

if TYPE_CHECKING:
    from streamtag.live.pool import SessionPool

FORMAT = PcmFormat(48000, "f32le", 1)  # what a browser sends: of the usual formats the one that costs most
WARM_UP = 2  # steps that are not counted: the network's first, and the hop that has no frame
LEAST = 3  # steps that are
ALONE = 0.2  # of the time, for steps of one stream


def measured(pool: SessionPool, tags: Sequence[str], thresholds: Sequence[float], spec: EngineSpec) -> Cost:
    """All workers step full batches of noise for EngineSpec.measure_s, messages and their JSON included; then they
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
    spec: EngineSpec,
    workers: int,
    streams: int,
    seconds: float,
) -> float:
    """How long a step of so many takes a worker while all work."""
    board = Board(tags, thresholds, workers * streams)
    work = Work(pool, board, _as_json, "", time.monotonic)
    times: list[list[float]] = [[] for _ in range(workers)]
    failures: list[BaseException] = []
    until = time.monotonic() + seconds

    def run(mine: list[float]) -> None:
        try:
            _run(work, spec, streams, until, mine)
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=run, args=(mine,), name="streamtag-measure") for mine in times]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return median(time for mine in times for time in mine)


def _run(work: Work, spec: EngineSpec, count: int, until: float, times: list[float]) -> None:
    now, noise = time.monotonic(), np.random.default_rng(0)
    samples = round(HOP_S * FORMAT.rate)
    streams = [EngineStream(str(number), Inlet(FORMAT, spec, now), spec, now, None) for number in range(count)]
    steps = 0
    while len(times) < LEAST or time.monotonic() < until:
        sound = noise.standard_normal(samples, np.float32).astype("<f4").tobytes()
        now = time.monotonic()
        for stream in streams:
            stream.inlet.push(sound, now)
        done = work.step(streams)
        steps += 1
        if steps > WARM_UP and done.hops:
            times.append(done.seconds / done.hops * count)
    work.close(streams)


def _as_json(messages: Sequence[Message]) -> None:
    for message in messages:
        message.to_json()
