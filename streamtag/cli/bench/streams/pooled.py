"""The pool alone, by the clock: no bytes, no sockets, no messages. The way to a number of streams for a GPU."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from streamtag.cli.bench.measure import music
from streamtag.cli.bench.streams.pace import FAREWELL_S, PIECE_S, Pace, place
from streamtag.cli.bench.streams.tally import Tally, Trial
from streamtag.inference.batch import PooledSession, SessionPool

if TYPE_CHECKING:
    from streamtag.api import Tagger

MOST_AT_ONCE = 4096  # streams of a step at most


class Feeder:
    """Some of the streams of a pool, and the thread that feeds and steps them."""

    def __init__(self, pace: Pace, pool: SessionPool, streams: list[int], tally: Tally) -> None:
        self._pace = pace
        self._pool = pool
        self._sessions = {stream: pool.add() for stream in streams}
        self._numbers: dict[PooledSession, int] = {session: stream for stream, session in self._sessions.items()}
        self._tally = tally
        self._sound = music(PIECE_S)
        self._count = len(self._sound) // pace.chunk
        self.batches: list[int] = []
        self.late: list[float] = []
        self.cpu_s = 0.0

    def run(self, start: float) -> None:
        """start: on time.monotonic()."""
        torch.set_num_threads(1)  # this thread's own
        pushes = self._pace.pushes(list(self._sessions))
        due = next(pushes, None)
        waiting: dict[PooledSession, None] = {}
        until = start + self._pace.end_s + FAREWELL_S
        while (now := time.monotonic()) < until and (due or waiting):
            while due is not None and start + due[0] <= now:
                _, stream, chunk = due
                self._feed(stream, chunk)
                self.late.append(now - start - due[0])
                if self._sessions[stream].ready_hops:
                    waiting[self._sessions[stream]] = None
                due = next(pushes, None)
            if waiting:
                self._step(waiting)
            elif due is not None:
                time.sleep(max(0.0, min(start + due[0], until) - time.monotonic()))
        self.cpu_s = time.thread_time()

    def _feed(self, stream: int, chunk: int) -> None:
        size = self._pace.chunk
        first = size * place(stream, chunk, self._count)
        self._sessions[stream].feed(self._sound[first : first + size])

    def _step(self, waiting: dict[PooledSession, None]) -> None:
        batch = list(waiting)[:MOST_AT_ONCE]
        stepped = self._pool.step(batch)
        now = time.monotonic()
        self.batches.append(len(stepped))
        for session, frames in stepped:
            for frame in frames:
                self._tally.frame(self._numbers[session], frame.index, now)
        for session in batch:
            if not session.ready_hops:
                del waiting[session]


def pool_trial(tagger: Tagger, pace: Pace, streams: int, workers: int, precision: str = "float32") -> Trial:
    """workers: threads; on a GPU one. pace.rate must be the model's."""
    pool = SessionPool(tagger, slots=streams, precision=precision)
    pool.warm_up(MOST_AT_ONCE)
    tally = Tally(pace, range(streams))
    workers = min(workers, streams)
    feeders = [Feeder(pace, pool, list(range(first, streams, workers)), tally) for first in range(workers)]
    start = time.monotonic() + 0.1
    threads = [threading.Thread(target=feeder.run, args=(start,), name="bench-pool") for feeder in feeders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batches = np.concatenate([feeder.batches for feeder in feeders])
    return tally.trial(
        start,
        [late for feeder in feeders for late in feeder.late],
        batch_mean=float(batches.mean()),
        batch_max=int(batches.max()),
        device_bytes_a_stream=pool.slot_bytes,
        cpu_percent_of_a_core=100 * sum(feeder.cpu_s for feeder in feeders) / (pace.end_s + FAREWELL_S),
    )
