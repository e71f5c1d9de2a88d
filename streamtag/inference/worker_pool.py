"""One hop of many streams at once, computed by several worker processes.

Threads of one process would wait for each other: a step is hundreds of short operations, each of which needs the
interpreter lock for a moment.
"""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Condition, Thread

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import DeviceError, SpecError
from streamtag.inference.worker import WorkerProcess, WorkerSettings, available
from streamtag.model.batched import BatchedTagger
from streamtag.model.model_file import serialize
from streamtag.model.network import TaggerNetwork
from streamtag.model.recurrent import check_precision
from streamtag.model.states import SharedBufferAllocator, StreamStates, aligned_size, shared_state_bytes

MAX_BATCH = 64  # streams that a process steps at once
CHANNELS = 2  # steps that a process holds at once: the next one is there when the first is done
START_TIMEOUT_S = 120.0  # to load everything, on a busy machine
MAX_RESTART_DELAY_S = 30.0
log = logging.getLogger("streamtag.inference")
log.addHandler(logging.NullHandler())


@dataclass
class _Worker:
    """A place for one worker process, which is out of service from the process's end until another one is ready."""

    process: WorkerProcess
    settings: WorkerSettings
    free_channels: list[int]
    last_start: int = 0  # number of the step that it was last given
    is_ready: bool = True
    restart_failed: bool = False  # at least once, since it was last ready


class WorkerPool(StreamStates):
    """The states of many streams in shared memory: any worker process can step any stream, as BatchedTagger does.

    Several threads may use it at once, but no two of them the same row. More threads than processes use it best:
    while the processes compute for some, others prepare the next steps. A process that ends is replaced in the
    background.
    """

    def __init__(
        self,
        network: TaggerNetwork,
        rows: int,
        precision: str,
        processes: int,
        restart_delay_s: float = 1.0,
        wait_for_start: bool = True,
    ) -> None:
        """Start the processes.

        wait_for_start: return when they are ready; if not, the calling threads compute too until all of them are, and
        `start_error` is set if one does not start.
        restart_delay_s: pause after a replacement failed to start; it doubles each time, up to MAX_RESTART_DELAY_S.
        Raises SpecError for an unknown precision or a system that cannot share memory, DeviceError if a process does
        not start.
        """
        check_precision(precision)
        if not available():
            raise SpecError("worker processes need Linux: use threads")
        self._restart_delay_s = restart_delay_s
        description, weights = serialize(network)
        states_end = shared_state_bytes(network, rows)
        weights_at = states_end, states_end + len(weights)
        description_at = weights_at[1], weights_at[1] + len(description.encode())
        shape = min(MAX_BATCH, rows), network.spec.hop, network.head.out_features
        self._memory_fd = os.memfd_create("streamtag")
        settings = WorkerSettings(self._memory_fd, (), description_at, weights_at, rows, precision, *shape)
        channel_size = aligned_size(settings.channel_bytes)
        channels_at = aligned_size(description_at[1])
        os.truncate(self._memory_fd, channels_at + processes * CHANNELS * channel_size)
        self._memory = mmap.mmap(self._memory_fd, 0)
        self._memory[slice(*weights_at)] = weights
        self._memory[slice(*description_at)] = description.encode()
        super().__init__(network, rows, SharedBufferAllocator(self._memory).allocate)
        # of the same states: computes what no process has room for until all are ready
        self._local = None if wait_for_start else BatchedTagger(network, rows, precision, states=self)
        self.start_error: DeviceError | None = None
        self._max_batch = settings.max_batch
        self._steps = 0
        self._ended_cpu_s = 0.0
        self._is_closed = False
        self._restarts: list[Thread] = []
        self._changed = Condition()  # guards everything mutable here and in the workers
        self._workers: list[_Worker] = []
        try:
            for number in range(processes):
                first = channels_at + number * CHANNELS * channel_size
                own = replace(
                    settings, channel_offsets=tuple(first + channel * channel_size for channel in range(CHANNELS))
                )
                self._workers.append(_Worker(WorkerProcess(self._memory, own), own, [*range(CHANNELS)]))
            for worker in self._workers:
                if wait_for_start:
                    worker.process.wait_until_ready(START_TIMEOUT_S)
                else:
                    worker.is_ready = False
                    self._run_in_background(self._await_start, worker)
            if self._local is not None:  # the first step is slow; rows are undefined until they are reset
                self._local.step(np.zeros((1, settings.hop), np.float32), np.zeros(1, np.int64))
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> tuple[int, ...]:
        """Process IDs of the workers, including those that have ended and were not replaced yet."""
        return tuple(worker.process.pid for worker in self._workers)

    @property
    def is_ready(self) -> bool:
        """All processes have started."""
        return all(worker.is_ready for worker in self._workers)

    @property
    def running_steps(self) -> int:
        """Number of steps that the processes compute or hold."""
        with self._changed:
            return sum(CHANNELS - len(worker.free_channels) for worker in self._workers)

    @property
    def cpu_s(self) -> float:
        """CPU time of the processes so far, including those that were replaced, in seconds."""
        with self._changed:
            return self._ended_cpu_s + sum(worker.process.cpu_s for worker in self._workers)

    def step(self, audio: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what BatchedTagger.step does.

        Raises DeviceError if a process fails or ends, or if none is left. The states of its rows are of no use then.
        """
        starts = range(0, len(rows), self._max_batch)
        parts = [(audio[n : n + self._max_batch], rows[n : n + self._max_batch]) for n in starts]
        return np.concatenate([self._step(*part) for part in parts])

    def close(self) -> None:
        """End the processes. Nothing may be stepped afterwards."""
        with self._changed:
            was_closed, self._is_closed = self._is_closed, True
            self._changed.notify_all()
            for worker in self._workers:
                if not worker.is_ready:
                    worker.process.kill()
        for thread in self._restarts:
            thread.join()
        for worker in self._workers:
            worker.process.hang_up()
        for worker in self._workers:
            worker.process.close()
        if not was_closed:
            os.close(self._memory_fd)

    def _step(self, audio: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if (local := self._local) is not None:
            if self.is_ready:
                self._local = None
            elif not any(worker.is_ready and worker.free_channels for worker in self._workers):
                return local.step(audio, rows)
        worker, channel = self._acquire()
        try:
            return worker.process.step(channel, audio, rows)
        finally:
            self._release(worker, channel)

    def _acquire(self) -> tuple[_Worker, int]:
        """Wait for a free channel and take it: of an idle process, else of the one that will be done first.

        Raises DeviceError if no process is in service, and none has still its first chance to be replaced.
        """
        with self._changed:
            while not (free := [worker for worker in self._workers if worker.is_ready and worker.free_channels]):
                if self._is_closed or all(worker.restart_failed for worker in self._workers):
                    raise DeviceError("no worker process is left: those that ended could not be replaced")
                self._changed.wait()
            worker = max(free, key=_priority)
            self._steps += 1
            worker.last_start = self._steps
            return worker, worker.free_channels.pop()

    def _release(self, worker: _Worker, channel: int) -> None:
        """Free the channel. The last one of a process that has ended begins its replacement."""
        is_alive = worker.process.is_alive
        with self._changed:
            worker.free_channels.append(channel)
            worker.is_ready &= is_alive
            if not worker.is_ready and len(worker.free_channels) == CHANNELS and not self._is_closed:
                self._run_in_background(self._restart, worker)
            self._changed.notify()

    def _run_in_background(self, function: Callable[[_Worker], None], worker: _Worker) -> None:
        thread = Thread(target=function, args=(worker,), name="streamtag-restart", daemon=True)
        self._restarts = [other for other in self._restarts if other.is_alive()] + [thread]
        thread.start()

    def _await_start(self, worker: _Worker) -> None:
        try:
            worker.process.wait_until_ready(START_TIMEOUT_S)
        except DeviceError as error:
            if not self._is_closed:
                self.start_error = error
                self._restart(worker)
            return
        with self._changed:
            worker.is_ready = True
            self._changed.notify_all()

    def _restart(self, worker: _Worker) -> None:
        """Replace the process; try until that succeeds or the pool is closed."""
        log.warning("worker process %d has ended and is replaced", worker.process.pid)
        delay_s = self._restart_delay_s
        while not self._start_again(worker):
            with self._changed:
                worker.restart_failed = True
                self._changed.notify_all()
                if self._changed.wait_for(lambda: self._is_closed, delay_s):
                    return
            delay_s = min(2 * delay_s, MAX_RESTART_DELAY_S)
        with self._changed:
            worker.is_ready, worker.restart_failed = True, False
            self._changed.notify_all()

    def _start_again(self, worker: _Worker) -> bool:
        """Return whether another process is ready in place of the last one."""
        worker.process.close()
        try:
            process = WorkerProcess(self._memory, worker.settings)
            with self._changed:
                self._ended_cpu_s += worker.process.cpu_s
                worker.process = process
                if self._is_closed:
                    process.kill()
            process.wait_until_ready(START_TIMEOUT_S)
        except (DeviceError, OSError) as error:
            log.warning("a worker process could not be replaced: %s", error)
            return False
        return True


def _priority(worker: _Worker) -> tuple[int, int]:
    """Order workers: of idle ones the last used first, whose caches are warm; of others the one that started first."""
    free = len(worker.free_channels)
    return free, worker.last_start if free == CHANNELS else -worker.last_start
