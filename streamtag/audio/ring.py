"""A lock-free ring buffer that carries blocks of samples from an audio callback to the thread that reads them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import SpecError


@dataclass(frozen=True, slots=True)
class Block:
    """samples [n, channels], a copy. arrival_time: when they were written, on time.monotonic().

    lost: samples missing before it, at the same rate. flagged: the device reports a loss, of unknown length.
    """

    samples: NDArray[np.float32]
    arrival_time: float
    lost: int = 0
    flagged: bool = False


class Ring:
    """A ring buffer of fixed slots, for one thread that writes and one that reads.

    `write` may be called where nothing may wait, as in an audio callback: it copies, counts and returns, without a
    lock, a new array or anything that grows. A full ring is an overrun: what does not fit is lost, and its length is
    reported with the next block that fits. Only the writer sets `_written` and only the reader `_read`, each after it
    is done with the slot; Python makes such a store atomic and visible in order.
    """

    def __init__(self, slots: int, frames: int, channels: int, clock: Callable[[], float] = time.monotonic) -> None:
        """slots: of so many samples (frames) of so many channels each. clock: seconds. Raises SpecError."""
        if min(slots, frames, channels) < 1:
            raise SpecError("a ring must have slots, samples and channels")
        memory = np.zeros((slots, frames, channels), np.float32)
        self._slots = list(memory)  # views, made once: indexing the array would make one each time
        self._frames, self._clock = frames, clock
        self._counts = [0] * slots
        self._arrival_times = [0.0] * slots
        self._lost = [0] * slots
        self._flagged = [False] * slots
        self._unreported = 0  # samples lost since the last slot that was written
        self._flag = False  # and whether the device reported it
        self._written = 0
        self._read = 0

    def __len__(self) -> int:
        """Slots that wait to be read."""
        return self._written - self._read

    @property
    def is_full(self) -> bool:
        return len(self) >= len(self._slots)

    def write(self, indata: NDArray[np.float32], flagged: bool = False) -> None:
        """Append [n, channels], any n. flagged: as of a block. Only for the writer."""
        self._flag = self._flag or flagged
        arrival_time = self._clock()
        for start in range(0, len(indata), self._frames):
            count = min(self._frames, len(indata) - start)
            if self.is_full:
                self._unreported += len(indata) - start
                return
            slot = self._written % len(self._slots)
            if count == self._frames == len(indata):
                np.copyto(self._slots[slot], indata)
            else:
                self._slots[slot][:count] = indata[start : start + count]
            self._counts[slot] = count
            self._arrival_times[slot] = arrival_time
            self._lost[slot] = self._unreported
            self._flagged[slot] = self._flag
            self._unreported, self._flag = 0, False
            self._written += 1

    def peek(self) -> Block | None:
        """Return what `read` would return, without removing it."""
        if not len(self):
            return None
        slot = self._read % len(self._slots)
        samples = self._slots[slot][: self._counts[slot]].copy()
        return Block(samples, self._arrival_times[slot], self._lost[slot], self._flagged[slot])

    def read(self) -> Block | None:
        """Remove and return the oldest block, or None. Only for the reader."""
        block = self.peek()
        self._read += block is not None
        return block
