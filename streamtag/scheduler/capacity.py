"""How many live streams there is room for, from what a step costs, and whether they are processed in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, inf
from typing import TYPE_CHECKING

import numpy as np

from streamtag.audio.pcm import PcmFormat
from streamtag.inference.events import EventDetectorBank
from streamtag.protocol.messages import Message
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.processor import BatchProcessor
from streamtag.scheduler.registry import StreamRegistry
from streamtag.scheduler.stats import SchedulerStats
from streamtag.scheduler.stream import ScheduledStream

if TYPE_CHECKING:
    from streamtag.inference.batch import SessionPool
    from streamtag.scheduler.ready_queue import ReadyQueue

SAFE_STREAMS_PER_CORE = 4  # admitted before the measurement: a tenth of what the slowest core that we know can process
FULL_RETRY_S = 10.0  # s; by then a place may be free where all are taken
MIN_RETRY_S = 1.0
AVERAGING_S = 5.0  # s; time constant of utilization and cost
MAX_MISS_FRACTION = 0.01  # of the hops; where more miss the deadline there are too many streams

COST_AVERAGING_S = 10.0  # s of work on every core; time constant with which the cost is followed
COST_INTERVAL_S = 0.5  # s between two readings of the CPU time
MIN_COST_FACTOR, MAX_COST_FACTOR = 0.1, 20.0  # of the measured cost; values outside are due to something else
# Times the measured cost, until it is known: what a server's sockets add. On two cores a hop over sockets took 1.36
# times that of the scheduler alone, both at 16 kHz; the measurement is at 48 kHz, where the scheduler's part is larger.
COST_MARGIN = 1.3
# Fraction of the cores' time that streams should use; below it they say nothing of what many would cost: producers
# that all connect at once, or are refused and try again, then cost more than the few streams that there are.
MIN_LOAD = 0.25

SYNTHETIC_FORMAT = PcmFormat(48000, "f32le", 1)  # what a browser sends: the most expensive of the usual formats
WARM_UP_STEPS = 2  # of each size that are not counted: the first ones take longer
MIN_STEPS = 3  # of each size that are counted
SINGLE_FRACTION = 0.2  # of the measuring time, for steps of one stream


@dataclass(frozen=True)
class Cost:
    """CPU time of a step while all workers work: a constant part, and a part per stream, in seconds."""

    step_s: float
    stream_s: float

    def of(self, streams: int) -> float:
        return self.step_s + self.stream_s * streams


class LoadMonitor:
    """Follow what the work costs and whether it is done in time. Used with the scheduler's lock held."""

    def __init__(
        self,
        config: SchedulerConfig,
        hop_s: float,
        slots: int,
        now: float,
        cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        """slots: streams that there is memory for. cpu_s: CPU time so far of all that belongs to the program."""
        self.hop_cost_s = 0.0  # of one stream's hop, in a worker
        self._config, self._hop_s = config, hop_s
        self._cores = config.cores or config.workers
        self._max_streams = min(slots, config.max_streams or slots)
        safe = self._max_streams if config.max_streams else SAFE_STREAMS_PER_CORE * self._cores
        self._initial_streams = min(self._max_streams, safe)
        self._cost: Cost | None = None
        self._cost_factor = COST_MARGIN  # times the measured cost
        self._expected_s = 0.0  # by the measured cost, of the steps since the last reading
        self._cpu_s = cpu_s
        self._reading = now, cpu_s()
        self._last_overload = -inf
        self._recent_hops = self._recent_misses = 0.0
        self._last_step = now
        self._utilization = [0.0] * config.workers
        self._worker_times = [now] * config.workers

    @property
    def needs_measurement(self) -> bool:
        """More streams might be admitted if the cost were known."""
        return self._cost is None and self._initial_streams < self._max_streams

    @property
    def capacity(self) -> int:
        """Streams that there is room for, at least 1. A safe number until the cost is known."""
        if self._cost is None:
            return self._initial_streams
        batch = min(self._config.batch, self._max_streams)
        hops_per_s = self._cores * batch / (self._cost.of(batch) * self._cost_factor)
        return max(1, min(self._max_streams, int(self._config.headroom * hops_per_s * self._hop_s)))

    @property
    def batch_size(self) -> int:
        """Streams that a step processes in half the deadline, at least 1."""
        return max(1, int(self._config.deadline_s / 2 / self.hop_cost_s)) if self.hop_cost_s else self._config.batch

    def utilization(self, now: float) -> float:
        """Return the fraction of their time that the workers work."""
        idle = [max(0.0, now - time) for time in self._worker_times]  # a step in progress shows when it is done
        busy = zip(self._utilization, idle, strict=True)
        return sum(fraction * exp(-s / AVERAGING_S) for fraction, s in busy) / len(idle)

    def is_degraded(self, now: float) -> bool:
        """Return whether too many hops missed the deadline just now."""
        return now - self._last_overload < self._config.degraded_s

    def stats(self, now: float, registry: StreamRegistry, ready: ReadyQueue) -> SchedulerStats:
        """Return the state of the scheduler that these belong to."""
        return SchedulerStats(
            streams=len(registry),
            disconnected=registry.disconnected,
            capacity=self.capacity,
            is_degraded=self.is_degraded(now),
            is_measuring=ready.measurement is not None,
            retry_after_s=self.retry_after_s(now),
            ready=len(ready),
            lag_s=ready.lag_s(now),
            hop_cost_s=self.hop_cost_s,
            utilization=self.utilization(now),
        )

    def retry_after_s(self, now: float) -> float:
        """Return when a refused producer may try again, in seconds."""
        left = self._last_overload + self._config.degraded_s - now
        return max(MIN_RETRY_S, left) if left > 0 else FULL_RETRY_S

    def set_cost(self, cost: Cost | None, now: float) -> None:
        """Adopt the measured cost (None: it failed); from now on the CPU time that the program uses corrects it."""
        self._cost, self._reading, self._expected_s = cost, (now, self._cpu_s()), 0.0

    def add_step(self, worker: int, hops: int, seconds: float, missed: int, now: float) -> None:
        """Count a step: its hops, how long it took, and how many hops missed the deadline."""
        keep = exp(-max(0.0, now - self._last_step) / self._config.degraded_s)
        self._last_step = now
        self._recent_hops, self._recent_misses = keep * self._recent_hops + hops, keep * self._recent_misses + missed
        if missed and self._recent_misses > MAX_MISS_FRACTION * self._recent_hops:
            self._last_overload = now
        if hops:
            self._correct_cost(hops, now)
            weight = 1 - exp(-seconds / AVERAGING_S)
            self.hop_cost_s += (weight if self.hop_cost_s else 1.0) * (seconds / hops - self.hop_cost_s)
        passed = max(now - self._worker_times[worker], seconds, 1e-9)
        self._worker_times[worker] = now
        self._utilization[worker] += (1 - exp(-passed / AVERAGING_S)) * (seconds / passed - self._utilization[worker])

    def _correct_cost(self, hops: int, now: float) -> None:
        """Compare, twice a second, the CPU time of the whole program with what its steps should have cost."""
        if self._cost is None:
            return
        self._expected_s += self._cost.of(hops)
        before, cpu_before = self._reading
        passed_s = now - before
        if passed_s < COST_INTERVAL_S:
            return
        self._reading = now, self._cpu_s()
        used_s, expected_s, self._expected_s = self._reading[1] - cpu_before, self._expected_s, 0.0
        if expected_s * self._cost_factor >= MIN_LOAD * self._cores * passed_s:
            factor = min(MAX_COST_FACTOR, max(MIN_COST_FACTOR, used_s / expected_s))
            weight = 1 - exp(-used_s / (COST_AVERAGING_S * self._cores))
            self._cost_factor += weight * (factor - self._cost_factor)


class CapacityMeasurement:
    """Measure the cost of a step with streams of noise, beside live streams: in pieces of one step each.

    Workers run pieces when no live stream is ready. All work on steps of one stream first, then on larger and larger
    ones. The cost follows from the smallest and the largest. Used with the scheduler's lock held.
    """

    def __init__(
        self,
        pool: SessionPool,
        config: SchedulerConfig,
        reserved_slots: int,
    ) -> None:
        """reserved_slots: slots of the pool that are left free."""
        workers = min(config.workers, pool.slots - reserved_slots)
        self._max_size = max(1, min(config.batch, (pool.slots - reserved_slots) // workers))
        bank = EventDetectorBank.of(pool.tags, pool.concepts, workers * self._max_size)
        self._processor = BatchProcessor(pool, bank, _to_json, "", time.monotonic)
        self._pool, self._cpu_s, self._config = pool, pool.cpu_s, config
        self._sets = [SyntheticStreams(self._processor, config, pool) for _ in range(workers)]
        self._available = list(self._sets)
        self._size = 1
        self._steps = 0  # of this size
        self._started_at = 0.0, 0.0  # time and CPU time after those that are not counted
        self._single_s = 0.0
        self._has_failed = False
        self.cost: Cost | None = None

    @property
    def is_done(self) -> bool:
        """The cost is known, or cannot be measured, and no worker has any of the streams."""
        return (self.cost is not None or self._has_failed) and len(self._available) == len(self._sets)

    def next_piece(self) -> SyntheticStreams | None:
        """Return streams for a worker to step, or None if all are in use, the pool's processes start, or no
        more pieces are needed."""
        if self.cost is not None or self._has_failed or not self._available or not self._pool.is_ready:
            return None
        piece = self._available.pop()
        piece.size = self._size
        return piece

    def finish_piece(self, piece: SyntheticStreams, now: float) -> bool:
        """Take streams back that a worker has stepped, and return `is_done`."""
        self._available.append(piece)
        self._evaluate(piece, now)
        return self.is_done

    def _evaluate(self, piece: SyntheticStreams, now: float) -> None:
        self._has_failed |= piece.has_failed
        if self.cost is not None or self._has_failed or piece.size < self._size:
            return
        self._steps += 1
        warm_up = WARM_UP_STEPS * len(self._sets)
        if self._steps <= warm_up:
            self._started_at = now, self._cpu_s()
            return
        count, seconds = self._steps - warm_up, now - self._started_at[0]
        fraction = {1: SINGLE_FRACTION, self._max_size: 1 - SINGLE_FRACTION}.get(self._size, 0.0)
        least = (MIN_STEPS if fraction else 1) * len(self._sets)
        if count < least or seconds < fraction * self._config.measure_s:
            return
        step_s = (self._cpu_s() - self._started_at[1]) / count
        if self._size == 1:
            self._single_s = step_s
        if self._size == self._max_size or 2 * step_s > self._config.deadline_s / 2:
            # longer pieces would make live streams late
            stream_s = max(1e-9, (step_s - self._single_s) / max(1, self._size - 1))
            self.cost = Cost(max(0.0, self._single_s - stream_s), stream_s if self._size > 1 else self._single_s)
        else:
            self._size, self._steps = min(2 * self._size, self._max_size), 0

    def close(self) -> None:
        """Give the slots back. No worker may have any of the streams."""
        for streams in self._sets:
            streams.close()


class SyntheticStreams:
    """Streams of noise that one worker steps at a time."""

    def __init__(self, processor: BatchProcessor, config: SchedulerConfig, pool: SessionPool) -> None:
        samples = round(pool.spec.hop_s * SYNTHETIC_FORMAT.rate)
        self.size = 1  # streams of the next step
        self.has_failed = False
        self._processor, self._config, self._spec = processor, config, pool.spec
        self._audio = np.random.default_rng(0).standard_normal(samples, np.float32).astype("<f4").tobytes()
        self._streams: list[ScheduledStream] = []

    def step(self) -> None:
        """Process one hop of each."""
        now = time.monotonic()
        for number in range(len(self._streams), self.size):
            stream = ScheduledStream(str(number), SYNTHETIC_FORMAT, self._config, self._spec, now)
            self._streams.append(stream)
        for stream in self._streams:
            stream.buffer.push(self._audio, now)
        self.has_failed = bool(self._processor.step(self._streams).ended)

    def close(self) -> None:
        self._processor.close(self._streams)
        self._streams.clear()


def _to_json(messages: Sequence[Message]) -> None:
    for message in messages:
        message.to_json()
