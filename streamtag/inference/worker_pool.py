"""One hop of many streams at once, by several processes: each has an interpreter, and a core, of its own.

Threads of one process would wait for each other: a step is hundreds of short operations, and each of them has to have
the interpreter to itself for a moment.
"""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import DeviceError, SpecError
from streamtag.inference.shared_hops import SharedHopBufferSpec
from streamtag.inference.worker_process import WorkerProcess
from streamtag.inference.worker_slots import WorkerSlots

if TYPE_CHECKING:
    from streamtag.model.network import TaggerNetwork

MOST = 64  # streams that a process steps at once
LANES = 2  # steps that a process may be given at once: the next one is there when one is done
log = logging.getLogger("streamtag.inference")
log.addHandler(logging.NullHandler())


class WorkerPool:
    """As BatchedTagger. All processes share the streams' states: any of them can step any stream.

    Any thread may use it, but no row two of them. More threads than processes use it best: while the processes work
    for some, others prepare what comes next, and leave it at a process's door.
    """

    def __init__(self, network: TaggerNetwork, rows: int, precision: str, processes: int) -> None:
        """Starts them. Raises SpecError if there is no such precision, or this system cannot share memory so,
        DeviceError if they do not start."""
        from streamtag.model.model_file import serialize
        from streamtag.model.recurrent import check_precision
        from streamtag.model.states import (  # late: torch
            SharedBufferAllocator,
            StreamStates,
            aligned_size,
            shared_state_bytes,
        )

        check_precision(precision)
        if not available():
            raise SpecError("worker processes need Linux: use threads")
        self.hop = network.spec.hop
        self._rows, self._precision, self._model = rows, precision, serialize(network)
        self._exchange = SharedHopBufferSpec(min(MOST, rows), self.hop, network.head.out_features)
        self._offset, self._apart = shared_state_bytes(network, rows), aligned_size(self._exchange.nbytes)
        self._shared = os.memfd_create("streamtag")
        os.truncate(self._shared, self._offset + processes * LANES * self._apart)
        self._memory = mmap.mmap(self._shared, 0)
        self._states = StreamStates(network, rows, SharedBufferAllocator(self._memory).allocate)
        self._lost_cpu_s = 0.0
        self._workers: list[WorkerProcess] = []
        self._lanes = WorkerSlots(processes, LANES)
        try:
            for number in range(processes):
                self._workers.append(self._start(number))
            for worker in self._workers:
                worker.wait_until_ready()
        except BaseException:
            self.close()
            raise

    @property
    def row_bytes(self) -> int:
        """Bytes of memory that a stream needs."""
        return self._states.row_bytes

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes' numbers."""
        return tuple(worker.pid for worker in self._workers)

    @property
    def asked(self) -> int:
        """Steps that they do or have before them."""
        return self._lanes.taken

    @property
    def cpu_s(self) -> float:
        """The processes' CPU time so far, those that were lost included, s."""
        return self._lost_cpu_s + sum(worker.cpu_s for worker in self._workers)

    def step(self, audio: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """As BatchedTagger.step. Raises DeviceError if a process fails or is lost: what the rows that it had
        remember is then of no use. Another one takes the place of a lost one."""
        most = self._exchange.most
        parts = [(audio[n : n + most], rows[n : n + most]) for n in range(0, len(rows), most)]
        return np.concatenate([self._step(*part) for part in parts])

    def reset(self, rows: NDArray[np.int64]) -> None:
        """As BatchedTagger.reset; so the others."""
        self._states.reset(rows)

    def reset_context(self, rows: NDArray[np.int64]) -> None:
        self._states.reset_context(rows)

    def save_row(self, row: int) -> dict[str, NDArray[Any]]:
        return self._states.save_row(row)

    def load_row(self, row: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._states.load_row(row, arrays)

    def close(self) -> None:
        """Ends the processes. Nothing may be stepped from now on."""
        for worker in self._workers:
            worker.close()
        if self._shared >= 0:
            os.close(self._shared)
            self._shared = -1

    def _step(self, audio: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        number, lane = self._lanes.take()
        worker = self._workers[number]
        try:
            return worker.step(lane, audio, rows)
        finally:
            if self._lanes.give(number, lane, lost=not worker.alive):
                self._replace(number)

    def _replace(self, number: int) -> None:
        lost = self._workers[number]
        log.warning("worker process %d is lost, and another one started", lost.pid)
        lost.close()
        self._lost_cpu_s += lost.cpu_s
        try:
            self._workers[number] = self._start(number)
            self._workers[number].wait_until_ready()
        except DeviceError:
            log.exception("it did not start")  # whoever steps with it next tries again
        finally:
            self._lanes.restore(number)

    def _start(self, number: int) -> WorkerProcess:
        offsets = [self._offset + (number * LANES + lane) * self._apart for lane in range(LANES)]
        worker = WorkerProcess(self._memory, self._shared, offsets, self._exchange)
        worker.prepare(self._rows, self._precision, self._model)
        return worker


def available() -> bool:
    """Whether this system can share memory between processes in the way that is needed."""
    return hasattr(os, "memfd_create")
