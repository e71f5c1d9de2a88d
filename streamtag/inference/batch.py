"""Many endless streams in one batch: whichever have a hop ready are stepped together, the others are held."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamtag.audio.source import Closing
from streamtag.errors import CapacityError, SpecError
from streamtag.inference.frame import TagFrame
from streamtag.inference.hop_buffer import HopBuffer, HopBufferState

if TYPE_CHECKING:
    from streamtag.inference.session import HasNetwork


class HopNetwork(Protocol):
    """Steps streams and owns their states: BatchedTagger in this process, HopWorkers in others."""

    @property
    def row_bytes(self) -> int: ...

    def step(self, audio: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]: ...

    def reset(self, rows: NDArray[np.int64]) -> None: ...

    def reset_context(self, rows: NDArray[np.int64]) -> None: ...

    def save_row(self, row: int) -> dict[str, NDArray[Any]]: ...

    def load_row(self, row: int, arrays: Mapping[str, NDArray[Any]]) -> None: ...


@dataclass(frozen=True)
class SessionState:
    """All that a stream needs to go on in another pool with the same model.

    track: where it stands; arrays: what the network remembers of it, by name.
    """

    track: HopBufferState
    arrays: dict[str, NDArray[Any]]


class SessionPool(Closing):
    """Owns the slots, and the processes if it has any: then it is a context manager, or must be closed. Several threads
    may use it at once, but no session two of them.

    pool = SessionPool(tagger, slots=64)
    session = pool.add()
    session.feed(samples)
    for session, frames in pool.step(): ...
    """

    def __init__(
        self, tagger: HasNetwork, slots: int = 64, precision: str = "float32", processes: int | None = None
    ) -> None:
        """slots: streams at most; their states are allocated at once (`slot_bytes` each, on the device). precision:
        of the GRU's products, float32 or bfloat16, which is faster on CPUs with units for it, slower on others.
        processes: that compute, on the CPU; each takes 0.3 GB. None: the threads that call `step` do it.

        Raises SpecError if there are no slots, no such precision, or there can be no such processes, DeviceError if
        they do not start.
        """
        from streamtag.inference.worker_pool import WorkerPool
        from streamtag.model.batched import BatchedTagger  # late: torch

        if slots < 1:
            raise SpecError(f"a pool has at least 1 slot, not {slots}")
        if processes is not None and (processes < 1 or tagger.network.head.weight.device.type != "cpu"):
            raise SpecError(f"{processes} worker processes: there must be 1 or more, and the model on the CPU")
        self.slots = slots
        self.spec = tagger.network.spec
        self._workers = None if processes is None else WorkerPool(tagger.network, slots, precision, processes)
        self._network: HopNetwork = self._workers or BatchedTagger(
            tagger.network, slots, precision, lock=threading.Lock()
        )
        self._lock = threading.Lock()  # of the two below
        self._free = list(range(slots))[::-1]
        self._sessions: dict[PooledSession, None] = {}

    def close(self) -> None:
        """Ends the processes, if there are any. Nothing may be stepped from now on."""
        if self._workers is not None:
            self._workers.close()

    def __len__(self) -> int:
        """Sessions now."""
        return len(self._sessions)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes' numbers."""
        return () if self._workers is None else self._workers.pids

    def cpu_s(self) -> float:
        """CPU time so far of this process and of those of the pool, s."""
        return time.process_time() + (0.0 if self._workers is None else self._workers.cpu_s)

    @property
    def slot_bytes(self) -> int:
        """What a stream needs of the device's memory."""
        return self._network.row_bytes

    def add(self, state: SessionState | None = None) -> PooledSession:
        """A new stream, or one that goes on where another pool's stood.

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
        """One hop of each of the sessions (None: of all) that has one ready -> those, with the frames that it gave."""
        if sessions is None:
            with self._lock:
                sessions = list(self._sessions)
        batch, hops, forgetful = [], [], []
        for session in dict.fromkeys(sessions):
            hop, forget = session._track.next_hop()
            if forget:
                forgetful.append(session._slot)
            if hop is not None:
                batch.append(session)
                hops.append(hop)
        if forgetful:
            self._network.reset_context(np.array(forgetful))
        if not batch:
            return []
        probs = self._network.step(np.stack(hops), np.array([session._slot for session in batch]))
        return [(session, session._track.complete_hop(row)) for session, row in zip(batch, probs, strict=True)]

    def warm_up(self, most: int) -> None:
        """Steps of 1, 2, 4 ... up to `most` streams of silence: the first of each size take longer, since transforms
        are planned and a GPU's work is recorded. Raises CapacityError if not so many slots are free."""
        sessions: list[PooledSession] = []
        try:
            size = 1
            while len(sessions) < min(most, self.slots):
                sessions += [self.add() for _ in range(min(size, most, self.slots) - len(sessions))]
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
            if session in self._sessions:  # leaving twice gives no slot back twice
                del self._sessions[session]
                self._free.append(session._slot)


class PooledSession:
    """One stream of a pool: as Session, but what is fed waits for the pool's next steps."""

    def __init__(self, pool: SessionPool, network: HopNetwork, slot: int, state: SessionState | None = None) -> None:
        self._pool = pool
        self._network = network
        self._slot = slot
        self._track = HopBuffer(pool.spec, state.track if state else None)
        if state is None:
            network.reset(np.array([slot]))
        else:
            network.load_row(slot, state.arrays)

    @property
    def seconds(self) -> float:
        """Sound fed so far, what was lost of it included, s."""
        return self._track.samples / self._pool.spec.sample_rate

    @property
    def ready_hops(self) -> int:
        """Hops that wait."""
        return self._track.ready

    @property
    def is_finished(self) -> bool:
        """The stream has ended, and all its frames were given."""
        return self._track.ended and not self._track.ready

    def feed(self, samples: ArrayLike) -> None:
        """samples [n], any n >= 0, mono at 16 kHz. Samples that are not finite count as 0.

        Raises ValueError if samples is not one-dimensional, or the stream was flushed and not reset.
        """
        self._track.feed(samples)

    def insert_gap(self, samples: int) -> None:
        """Sound of this length, samples > 0, never came: as Session.insert_gap."""
        self._track.insert_gap(samples)

    def skip_hops(self, hops: int) -> None:
        """So many hops, > 0, are passed over unheard where there is no time for them: no work, and no frames.

        The sound before them meets the sound after. Their length counts for the clock.
        """
        self._track.skip_hops(hops)

    def reset_context(self) -> None:
        """The network forgets what was fed so far, as for a new song; the clock and the frames go on."""
        self._track.reset_context()

    def flush(self) -> None:
        """Ends the stream: the frames that still waited for sound come with the next steps."""
        self._track.end()

    def reset(self) -> None:
        """Forgets everything, what waits too: the next sample is the first of a new stream."""
        self._track = HopBuffer(self._pool.spec)
        self._network.reset(np.array([self._slot]))

    def remove(self) -> None:
        """Gives the slot back; the session is of no use any more."""
        self._pool._remove(self)

    def export_state(self) -> SessionState:
        """For another pool. Raises ValueError while hops wait, or if the stream has ended."""
        if self._track.ready:
            raise ValueError("a stream's state can be taken only when all its hops are done")
        if self._track.next_hop()[1]:
            self._network.reset_context(np.array([self._slot]))
        return SessionState(self._track.state(), self._network.save_row(self._slot))
