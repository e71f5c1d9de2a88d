"""Many continuous streams in one batch: those that have a hop ready are stepped together, the others are held."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.source import Closing
from streamtag.errors import CapacityError, SpecError
from streamtag.inference.frame import TagFrame
from streamtag.inference.hop_buffer import HopBuffer, HopBufferState

if TYPE_CHECKING:
    from streamtag.inference.session import HasNetwork
    from streamtag.model.cuda_graphs import GraphCapture


class HopNetwork(Protocol):
    """Steps streams and owns their states, one row each: BatchedTagger in this process, WorkerPool in others."""

    @property
    def row_bytes(self) -> int: ...

    def step(self, audio: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]: ...

    def reset(self, rows: NDArray[np.int64]) -> None: ...

    def reset_context(self, rows: NDArray[np.int64]) -> None: ...

    def save_row(self, row: int) -> dict[str, NDArray[Any]]: ...

    def load_row(self, row: int, arrays: Mapping[str, NDArray[Any]]) -> None: ...


@dataclass(frozen=True)
class SessionState:
    """Everything that a stream needs to continue in another pool with the same model.

    buffer: its position; arrays: the network's state of it, by name.
    """

    buffer: HopBufferState
    arrays: dict[str, NDArray[Any]]


class SessionPool(Closing):
    """Own the slots of many streams, and worker processes if there are any; then it must be closed.

    Several threads may use it at once, but no two of them the same session.

        pool = SessionPool(tagger, slots=64)
        session = pool.add()
        session.feed(samples)
        for session, frames in pool.step(): ...
    """

    def __init__(
        self,
        tagger: HasNetwork,
        slots: int = 64,
        precision: str = "float32",
        processes: int | None = None,
        capture: GraphCapture | None = None,
        wait_for_start: bool = True,
    ) -> None:
        """Allocate the states of all slots on the device, `slot_bytes` each.

        precision: of the recurrent products, float32 or bfloat16; the latter is faster only on CPUs with units for it.
        processes: worker processes that compute on the CPU, 0.3 GB each; None: the threads that call `step` compute.
        capture: as BatchedTagger has it. wait_for_start: of the processes; if False, the threads compute until
        then, and `check_started` says whether a process did not start.
        Raises SpecError for settings that cannot be, DeviceError if the processes do not start.
        """
        from streamtag.inference.worker_pool import WorkerPool
        from streamtag.model.batched import BatchedTagger  # late: torch

        if slots < 1:
            raise SpecError(f"a pool has at least 1 slot, not {slots}")
        if processes is not None and (processes < 1 or tagger.network.head.weight.device.type != "cpu"):
            raise SpecError(f"{processes} worker processes: there must be 1 or more, and the model on the CPU")
        self.slots = slots
        self.spec = tagger.network.spec
        self.tags, self.concepts = tagger.network.tags, tagger.network.concepts
        self._concept_map = tagger.network.concept_map
        self._workers = (
            None
            if processes is None
            else WorkerPool(tagger.network, slots, precision, processes, wait_for_start=wait_for_start)
        )
        self._network: HopNetwork = self._workers or BatchedTagger(
            tagger.network, slots, precision, threading.Lock(), capture
        )
        self._lock = threading.Lock()  # guards the two below
        self._free = list(range(slots))[::-1]
        self._sessions: dict[PooledSession, None] = {}

    def close(self) -> None:
        """End the worker processes, if there are any. Nothing may be stepped afterwards."""
        if self._workers is not None:
            self._workers.close()

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self._sessions)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process IDs of the worker processes."""
        return () if self._workers is None else self._workers.pids

    @property
    def is_ready(self) -> bool:
        """All worker processes have started, if there are any."""
        return self._workers is None or self._workers.is_ready

    def check_started(self) -> None:
        """Raise DeviceError if a worker process did not start."""
        if self._workers is not None and self._workers.start_error is not None:
            raise self._workers.start_error

    def cpu_s(self) -> float:
        """Return the CPU time of this process and the worker processes so far, in seconds."""
        return time.process_time() + (0.0 if self._workers is None else self._workers.cpu_s)

    @property
    def slot_bytes(self) -> int:
        """Bytes of the device's memory that one stream needs."""
        return self._network.row_bytes

    def add(self, state: SessionState | None = None) -> PooledSession:
        """Begin a new stream, or continue one that was exported from another pool.

        Raises CapacityError if every slot is taken, SpecError if the state is damaged or another model's.
        """
        with self._lock:
            if not self._free:
                raise CapacityError(f"all {self.slots} slots are taken")
            slot = self._free.pop()
        try:
            session = PooledSession(self, self._network, slot, state)
        except BaseException:
            with self._lock:
                self._free.append(slot)
            raise
        with self._lock:
            self._sessions[session] = None
        return session

    def step(self, sessions: Iterable[PooledSession] | None = None) -> list[tuple[PooledSession, list[TagFrame]]]:
        """Compute one hop of each given session (None: of all) that has one ready; return those with their frames."""
        if sessions is None:
            with self._lock:
                sessions = list(self._sessions)
        batch, hops, reset_slots = [], [], []
        for session in dict.fromkeys(sessions):
            hop, must_reset = session.next_hop()
            if must_reset:
                reset_slots.append(session.slot)
            if hop is not None:
                batch.append(session)
                hops.append(hop)
        if reset_slots:
            self._network.reset_context(np.array(reset_slots))
        if not batch:
            return []
        probs = self._network.step(np.stack(hops), np.array([session.slot for session in batch]))
        rows = zip(batch, probs, self._concept_map(probs), strict=True)
        return [(session, session.complete_hop(*values)) for session, *values in rows]

    def warm_up(self, max_batch: int) -> None:
        """Step 1, 2, 4 ... and up to `max_batch` streams of silence, since the first step of each size is slow.

        Raises CapacityError if not so many slots are free.
        """
        sessions: list[PooledSession] = []
        max_batch = min(max_batch, self.slots)
        try:
            size = 1
            while len(sessions) < max_batch:
                sessions += [self.add() for _ in range(min(size, max_batch) - len(sessions))]
                for session in sessions:
                    session.feed(np.zeros(2 * self.spec.hop, np.float32))
                while self.step(sessions):
                    pass
                size *= 2
        finally:
            for session in sessions:
                session.remove()

    def _remove(self, session: PooledSession) -> None:
        with self._lock:
            if session in self._sessions:  # a second call must not free the slot again
                del self._sessions[session]
                self._free.append(session.slot)


class PooledSession(HopBuffer):
    """One stream of a pool. It works like Session, but what is fed waits for the pool's next steps."""

    def __init__(self, pool: SessionPool, network: HopNetwork, slot: int, state: SessionState | None = None) -> None:
        super().__init__(pool.spec, state.buffer if state else None)
        self.slot = slot
        self._pool, self._network = pool, network
        if state is None:
            network.reset(np.array([slot]))
        else:
            network.load_row(slot, state.arrays)

    def reset(self) -> None:
        """Begin a new stream; everything of the old one is dropped, waiting hops included."""
        super().__init__(self._pool.spec)
        self._network.reset(np.array([self.slot]))

    def remove(self) -> None:
        """Free the slot. The session must not be used afterwards."""
        self._pool._remove(self)

    def export_state(self) -> SessionState:
        """Return what another pool needs to continue. Raises ValueError while hops wait, or if the stream has ended."""
        if self.ready_hops:
            raise ValueError("a stream's state can be exported only when all its hops are done")
        if self.next_hop()[1]:
            self._network.reset_context(np.array([self.slot]))
        return SessionState(self.export_position(), self._network.save_row(self.slot))
