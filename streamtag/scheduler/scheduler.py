"""Many live streams in one batch: bytes of producers in, messages of all streams out.

A producer pushes bytes through its ProducerHandle into its stream's IngestBuffer. When enough waits there, the stream
becomes READY and enters the ReadyQueue. A worker takes the streams of one step from it (RUNNING), lets the
BatchProcessor turn their audio into messages, and releases each: it is READY again, IDLE, or has ENDED.

Locks: the scheduler's lock guards the registry, the ready queue, the load monitor and the jobs, and each stream's
on_writable and disconnected_since. Each IngestBuffer has a lock of its own. While one is held, no callback is called,
and no other is acquired but the pool's for its CPU time. Everything else of a stream belongs to the worker that has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from threading import Condition, Lock
from typing import TYPE_CHECKING, Self

from streamtag.audio.pcm import PcmFormat
from streamtag.audio.source import Closing
from streamtag.inference.events import EventDetectorBank
from streamtag.scheduler.capacity import CapacityMeasurement, LoadMonitor, SyntheticStreams
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.ingest_resampler import check_position
from streamtag.scheduler.processor import BatchProcessor, Publish, StepResult
from streamtag.scheduler.producer_handle import ProducerHandle, notify_writable
from streamtag.scheduler.ready_queue import ReadyQueue, Task
from streamtag.scheduler.registry import StreamRegistry, UnknownStream
from streamtag.scheduler.stats import Busy, Observer, SchedulerStats, StreamStats
from streamtag.scheduler.stream import OnWritable, ScheduledStream
from streamtag.scheduler.stream_state import StreamState
from streamtag.scheduler.workers import WorkerThreads

if TYPE_CHECKING:
    from streamtag.inference.batch import SessionPool

CLOSING_RETRY_S = 10.0


class Scheduler(Closing):
    """A context manager: entering starts the workers; leaving ends all streams, publishes their `end` messages, and
    ends the workers. It admits a safe number of streams at first, and measures beside them how many it can admit.

    publish: gets the messages of one step, unfiltered, in each stream's order. It is called by the workers, several
    at once but never for one stream, and must not wait. The pool belongs to the scheduler alone.
    """

    def __init__(
        self,
        pool: SessionPool,
        publish: Publish,
        config: SchedulerConfig,
        model: str = "",
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
        join_timeout_s: float = 10.0,
        thresholds: Sequence[float | None] | None = None,
    ) -> None:
        """model: fingerprint of the weights; only a scheduler with the same imports an exported stream.
        join_timeout_s: how long closing waits for each worker; a step that takes longer never returns. thresholds: of
        the concepts, None for one that never turns on, or for all: the model's."""
        self._pool, self._config, self._model, self._clock = pool, config, model, clock
        self._observer, self._join_timeout_s = observer or Observer(), join_timeout_s
        bank = EventDetectorBank.of(pool.tags, pool.concepts, pool.slots, thresholds)
        self._processor = BatchProcessor(pool, bank, publish, model, clock)
        self._lock = Lock()
        self._work_available, self._all_ended = Condition(self._lock), Condition(self._lock)
        self._registry, self._ready = StreamRegistry(config), ReadyQueue(config)
        self._monitor = LoadMonitor(config, pool.spec.hop_s, pool.slots, clock(), pool.cpu_s)
        self._is_closing, self._is_closed = False, False
        self._workers = WorkerThreads(partial(self.run_next, wait=True), config.workers)

    def open(self, name: str, format: PcmFormat, position: int | None, on_writable: OnWritable) -> ProducerHandle:
        """Open a new stream, or continue a disconnected one of that name. Returns at once.

        position: the producer's count of the first sample that it will send to a stream that continues (a new one
        begins at 0 in any case); None: it does not count, and the clock says how much is lost. on_writable: called by a
        worker when there is room again, or the stream has ended. Raises Busy, NameTaken or SpecError.
        """
        check_position(position)
        now, since = self._clock(), None
        with self._lock:
            self._check_open()
            stream = self._registry.find_disconnected(name)
            if stream is None:
                self._stats(now).check_room()
                stream = ScheduledStream(name, format, self._config, self._pool.spec, now, on_ready=self._enqueue)
                self._registry.add(stream)
            else:
                since = self._registry.reconnect(stream)
            stream.on_writable = on_writable
        if since is not None:
            stream.buffer.resume(format, position, now - since, now)
        elif stream.buffer.release(1, now) is not None:
            self._enqueue(stream, now)
        return ProducerHandle(stream, self._clock, self._disconnect)

    def export_state(self, name: str) -> Future[bytes]:
        """Return a stream's state as safetensors. It continues here as well. Raises UnknownStream."""
        future: Future[bytes] = Future()
        with self._lock:
            stream = self._registry.find(name)
            if stream is None or self._is_closing:
                raise UnknownStream(f"{name}: there is no stream of that name")
            stream.state_requests.append(future)
        stream.buffer.request_worker(self._clock())
        return future

    def import_state(self, name: str, data: bytes) -> Future[int]:
        """Let a stream of another scheduler continue here. Return the position from which its producer must send it;
        until it does, the stream is disconnected.

        Raises Busy or NameTaken at once; the future raises SpecError if the data is not a stream of this model.
        """
        future: Future[int] = Future()
        with self._lock:
            self._check_open()
            self._registry.check_free(name)
            self._stats(self._clock()).check_room()
            self._registry.reserve(name)
            self._ready.add_job(partial(self._import, name, data, future))
            self._work_available.notify()
        return future

    @property
    def stats(self) -> SchedulerStats:
        """The state of the scheduler now."""
        now = self._clock()
        with self._lock:
            return self._stats(now)

    @property
    def streams(self) -> tuple[StreamStats, ...]:
        """All streams, in the order in which they were opened."""
        with self._lock:
            streams = list(self._registry)
        return tuple(stream.stats for stream in streams)

    def __enter__(self) -> Self:
        if self._monitor.needs_measurement:
            reserved_slots = self._monitor.capacity
            self._ready.measurement = CapacityMeasurement(self._pool, self._config, reserved_slots)
        self._workers.start()
        return self

    def close(self) -> None:
        with self._lock:
            self._is_closing = True
            streams = list(self._registry)
        for stream in streams:
            stream.buffer.end_input(self._clock())
        with self._lock:
            self._all_ended.wait_for(lambda: not len(self._registry), self._config.drain_timeout_s)
            self._is_closed = True
            self._work_available.notify_all()
            jobs, measurement, self._ready.measurement = self._ready.close(), self._ready.measurement, None
        for job in jobs:
            job()  # since it is too late, it only says so
        if self._workers.join(self._join_timeout_s):
            self._processor.close(list(self._registry))
            if measurement is not None:
                measurement.close()
        for stream in self._registry:
            self._remove(stream)

    def run_next(self, worker: int = 0, wait: bool = False) -> bool:
        """Do one task in the calling thread. Return False if there is none now or, with `wait`, after closing."""
        task = self._next_task(wait)
        if task is None:
            return False
        if isinstance(task, SyntheticStreams):
            self._measure(task)
        elif callable(task):
            task()
        else:
            result = self._processor.step(task)
            missed = sum(lag > self._config.deadline_s for lag in result.lags_s)
            self._release(worker, task, result, missed)
            for shed_s in result.shed_s:
                self._observer.on_shed(shed_s)
            if result.hops:
                self._observer.on_step(result.hops, result.seconds, result.lags_s, missed)
        return True

    def _next_task(self, wait: bool) -> Task | None:
        while True:
            now = self._clock()
            with self._lock:
                if self._is_closed:
                    return None
                expired = self._registry.pop_expired(now)
                if not expired:
                    if (task := self._ready.next_task(now, self._monitor.batch_size)) is not None:
                        if self._ready.has_work:
                            self._work_available.notify()  # a worker that sleeps until a time that has changed
                        return task
                    if not wait:
                        return None
                    times = (self._ready.wait_s(now), self._registry.wait_s(now))
                    self._work_available.wait(min((time for time in times if time is not None), default=None))
            for stream in expired:
                stream.buffer.end_input(now)

    def _enqueue(self, stream: ScheduledStream, since: float) -> None:
        """The stream, which was IDLE, is READY."""
        now = self._clock()
        with self._lock:
            stream.ready_since = since
            if self._ready.add(stream, now):
                self._work_available.notify()

    def _release(self, worker: int, streams: Sequence[ScheduledStream], result: StepResult, missed: int) -> None:
        """Give the streams of a step back: nothing of them may be used after this."""
        now = result.finished_at
        ready = []
        if now is not None:
            for stream in streams:
                if stream.is_closed:
                    continue
                if stream.buffer.resume_if_drained(now):
                    notify_writable(stream.on_writable)
                if stream.release(now) is not None:
                    ready.append(stream)
            with self._lock:
                should_wake = [self._ready.add(stream, now) for stream in ready]
                if any(should_wake):
                    self._work_available.notify()
                self._monitor.add_step(worker, result.hops, result.seconds, missed, now)
        for stream in result.ended:
            self._remove(stream)

    def _remove(self, stream: ScheduledStream) -> None:
        """The stream has ended: forget it and notify its producer."""
        with self._lock:
            self._registry.remove(stream)
            on_writable = stream.on_writable
            if not len(self._registry):
                self._all_ended.notify_all()
        stream.buffer.finish()
        notify_writable(on_writable)
        self._processor.answer_state_requests(stream)  # of those who asked meanwhile

    def _measure(self, piece: SyntheticStreams) -> None:
        piece.step()
        now = self._clock()
        with self._lock:
            measurement = self._ready.measurement
            if measurement is None or not measurement.finish_piece(piece, now):  # None: the scheduler is closed
                return
            self._ready.measurement = None
            self._monitor.set_cost(measurement.cost, now)
        measurement.close()

    def _import(self, name: str, data: bytes, future: Future[int]) -> None:
        if not future.set_running_or_notify_cancel():
            self._cancel_import(name)
            return
        now = self._clock()
        try:
            self._check_open()
            state = StreamState.from_bytes(data, self._model, self._pool.spec)
            stream = ScheduledStream(
                name, state.resampler.format, self._config, self._pool.spec, now, state.position, self._enqueue
            )
            self._processor.import_state(stream, state)
        except Exception as error:
            self._cancel_import(name)
            future.set_exception(error)
            return
        with self._lock:
            self._registry.add(stream)
            self._registry.disconnect(stream, now)
            is_closing = self._is_closing
        if is_closing:
            stream.buffer.end_input(now)
        if (since := stream.release(now)) is not None:
            self._enqueue(stream, since)
        future.set_result(state.position)

    def _cancel_import(self, name: str) -> None:
        with self._lock:
            self._registry.release(name)
            if not len(self._registry):
                self._all_ended.notify_all()

    def _disconnect(self, stream: ScheduledStream) -> None:
        with self._lock:
            if self._registry.disconnect(stream, self._clock()):
                self._work_available.notify()  # a worker has to wake up when the stream expires

    def _stats(self, now: float) -> SchedulerStats:
        return self._monitor.stats(now, self._registry, self._ready)

    def _check_open(self) -> None:
        if self._is_closing:
            raise Busy("the server is about to end", CLOSING_RETRY_S)
