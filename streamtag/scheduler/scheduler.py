"""Many live streams in one batch: the engine room of a server.

Bytes of producers come in by way of a Feed, from any thread, and wait in the stream's inlet. Workers take the streams
whose next hop is there, a batch at a time, turn their bytes into samples, step the pool, and tell what came out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from streamtag.errors import SpecError
from streamtag.inference.events import EventDetectorBank
from streamtag.scheduler.capacity import Capacity, Cost
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.coordination import Coordinator
from streamtag.scheduler.health import RETRY_S, Health
from streamtag.scheduler.ingest_buffer import IngestBuffer
from streamtag.scheduler.ingest_resampler import MOST
from streamtag.scheduler.measurement import measured
from streamtag.scheduler.pcm_format import PcmFormat
from streamtag.scheduler.processor import BatchProcessor, Publish
from streamtag.scheduler.registry import Busy, UnknownStream
from streamtag.scheduler.stats import NullObserver, Observer, SchedulerStats, StreamStats
from streamtag.scheduler.stream import HOP_S, OnWritable, ScheduledStream
from streamtag.scheduler.stream_state import StreamState
from streamtag.scheduler.worker_threads import WorkerThreads

if TYPE_CHECKING:
    from streamtag.inference.batch import SessionPool


class Scheduler:
    """A context manager: entering measures the capacity (SchedulerConfig.measure_s) and starts the workers, leaving
    ends all streams, publishes their `end` messages, and ends the workers.

    publish: gets the messages of one step, all tags in them, in each stream's order. It is called by the workers,
    several at once (never for one stream), and must not wait. The pool is the engine's alone.
    """

    def __init__(
        self,
        pool: SessionPool,
        tags: Sequence[str],
        thresholds: Sequence[float],
        publish: Publish,
        config: SchedulerConfig,
        model: str = "",
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """model: fingerprint of the weights; an exported stream is imported only by a scheduler with the same."""
        self._pool, self._tags, self._thresholds = pool, tuple(tags), tuple(thresholds)
        self._spec, self._model, self._clock = config, model, clock
        self._desk = Coordinator(config, Health(self._capacity(), config, clock(), pool.cpu_s), clock)
        self._work = BatchProcessor(pool, EventDetectorBank(tags, thresholds, pool.slots), publish, model, clock)
        self._crew = WorkerThreads(
            self._desk, self._work, observer or NullObserver(), config.workers, config.deadline_s
        )

    def open(self, name: str, format: PcmFormat, position: int | None, on_writable: OnWritable) -> ProducerHandle:
        """At once, from any thread: a new stream, or a kept one of that name goes on.

        position: the producer's own count of the sample that comes first (of a stream that goes on; a new one begins
        at 0 whatever it says); None: it does not count, and the clock says how much is missing. on_writable: called
        from a worker when there is room again, or the stream has ended. Raises Busy, NameTaken, or SpecError.
        """
        if position is not None and not 0 <= position <= MOST:
            raise SpecError(f"a position of {position}: must lie between 0 and {MOST}")
        now = self._clock()
        with self._desk.lock:
            self._check_open()
            stream = self._desk.roster.kept(name)
            if stream is None:
                self._admit(now)
                stream = ScheduledStream(name, IngestBuffer(format, self._spec, now), self._spec, now, on_writable)
                self._desk.roster.add(stream)
                fired = stream.inlet.rest(1, now) is not None
            else:
                gone_s = now - self._desk.roster.come_back(stream)
                stream.on_writable = on_writable
                fired = stream.inlet.come_back(format, position, gone_s, now)
        if fired:
            self._desk.queue(stream, now)
        return ProducerHandle(stream, self._clock, self._desk.queue, self._leave)

    def export_state(self, name: str) -> Future[bytes]:
        """A stream as it stands, to go on elsewhere: safetensors. It goes on here as well. Raises UnknownStream."""
        future: Future[bytes] = Future()
        with self._desk.lock:
            stream = self._desk.roster.find(name)
            if stream is None or self._desk.closing:
                raise UnknownStream(f"{name}: there is no stream of that name")
            stream.errands.append(future)
            fired = stream.inlet.ring()
        if fired:
            self._desk.queue(stream, self._clock())
        return future

    def import_state(self, name: str, data: bytes) -> Future[int]:
        """-> the position from which its producer must send it; until it comes the stream is away.

        Raises Busy or NameTaken at once; the future raises SpecError if the bytes are no stream of this model.
        """
        future: Future[int] = Future()
        with self._desk.lock:
            self._check_open()
            self._desk.roster.check_free(name)
            self._admit(self._clock())
            self._desk.roster.reserve(name)
            self._desk.add_job(partial(self._adopt, name, data, future))
        return future

    @property
    def stats(self) -> SchedulerStats:
        """Now."""
        now, desk = self._clock(), self._desk
        with desk.lock:
            health = desk.health
            return SchedulerStats(
                streams=len(desk.roster),
                disconnected=desk.roster.away,
                capacity=health.capacity.streams,
                is_degraded=health.degraded(now),
                is_starting=False,
                retry_after_s=health.retry_after_s(now),
                ready=len(desk.due),
                lag_s=desk.due.lag_s(now),
                hop_cost_s=health.cost_s,
                utilization=health.busy(now),
            )

    @property
    def streams(self) -> tuple[StreamStats, ...]:
        """All that have a place, in the order in which they came."""
        with self._desk.lock:
            streams = list(self._desk.roster)
        return tuple(stream.load for stream in streams)

    def __enter__(self) -> Self:
        """Raises what the pool raises if it cannot work."""
        cost = None
        if self._spec.max_streams is None:
            cost = measured(self._pool, self._tags, self._thresholds, self._spec)
        with self._desk.lock:
            self._desk.health.capacity = self._capacity(cost)
        self._crew.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        desk = self._desk
        with desk.lock:
            desk.closing = True
            streams = list(desk.roster)
        for stream in streams:
            if stream.inlet.end():
                desk.queue(stream, self._clock())
        desk.wait_until_empty(self._spec.drain_timeout_s)
        for job in desk.close():
            job()  # that does no more than tell that it is too late
        if self._crew.join():
            self._work.close(list(desk.roster))
        for stream in desk.roster:
            desk.dismiss(stream)
            self._work.export(stream)

    def _capacity(self, cost: Cost | None = None) -> Capacity:
        spec, most = self._spec, min(self._pool.slots, self._spec.max_streams or self._pool.slots)
        return Capacity(cost, HOP_S, spec.cores or spec.workers, min(spec.batch, most), spec.headroom, most)

    def _check_open(self) -> None:
        if self._desk.closing:
            raise Busy("the server is about to end", RETRY_S)

    def _admit(self, now: float) -> None:
        """Raises Busy if there is no room for one more stream."""
        health = self._desk.health
        if health.degraded(now):
            raise Busy("what is here already is more than can be done in time", health.retry_after_s(now))
        if len(self._desk.roster) >= health.capacity.streams:
            raise Busy(f"there is room for {health.capacity.streams} streams, and no more", health.retry_after_s(now))

    def _leave(self, stream: ScheduledStream) -> None:
        """Its producer has gone."""
        with self._desk.lock:
            if self._desk.roster.leave(stream, self._clock()):
                self._desk.look()

    def _adopt(self, name: str, data: bytes, future: Future[int]) -> None:
        """Of a worker."""
        if not future.set_running_or_notify_cancel():
            self._desk.release(name)
            return
        now = self._clock()
        try:
            if self._desk.closing:
                raise Busy("the server is about to end", RETRY_S)
            state = StreamState.of(data, self._model)
            inlet = IngestBuffer(state.intake.format, self._spec, now, state.position)
            stream = ScheduledStream(name, inlet, self._spec, now, None)
            self._work.adopt(stream, state)
        except Exception as error:
            self._desk.release(name)
            future.set_exception(error)
            return
        with self._desk.lock:
            self._desk.roster.release(name)
            self._desk.roster.add(stream)
            self._desk.roster.leave(stream, now)
            if self._desk.closing:
                inlet.end()
        if (since := stream.rest(now)) is not None:
            self._desk.queue(stream, since)
        future.set_result(state.position)


class ProducerHandle:
    """One connection of a producer. Used by one thread at a time, as an event loop is; nothing here waits or computes.

    After end() or disconnect() it takes nothing more.
    """

    def __init__(
        self,
        stream: ScheduledStream,
        clock: Callable[[], float],
        queue: Callable[[ScheduledStream, float], None],
        leave: Callable[[ScheduledStream], None],
    ) -> None:
        """queue: called when the stream is to be worked on; leave: when its producer has gone."""
        self._stream, self._inlet = stream, stream.inlet
        self._clock, self._queue, self._leave = clock, queue, leave
        self._over = False

    @property
    def position(self) -> int:
        """Samples of the producer (per channel, at its rate) that are taken so far: the place of the next."""
        return self._inlet.position

    @property
    def has_ended(self) -> bool:
        """The stream is over and its `end` told."""
        return self._stream.ended

    def push(self, data: bytes) -> bool:
        """The next bytes, cut anywhere. -> False: there is no room for more now, so read no more until on_writable().

        One who pushes on nevertheless loses the oldest sound, with a gap.
        """
        if self._over or self._stream.ended:
            return True
        now = self._clock()
        room, fired = self._inlet.push(data, now)
        if fired:
            self._queue(self._stream, now)
        return room

    def end(self) -> None:
        """The sound is over: what is owed is told, then `end`; then `ended` is true and on_writable() is called."""
        if not self._over:
            self._over = True
            if self._inlet.end():
                self._queue(self._stream, self._clock())

    def disconnect(self) -> None:
        """The connection broke off: the stream waits for its producer, then ends by itself."""
        if not self._over:
            self._over = True
            self._leave(self._stream)
