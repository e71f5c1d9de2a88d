"""Blocks of samples from a device's thread to ours, through memory that is there from the start."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import SpecError


@dataclass(frozen=True, slots=True)
class Block:
    """samples [n, channels], a copy. arrived: when they were written, on time.monotonic().

    lost: samples missing before it, at the same rate. flagged: the device says that it lost some, not how many.
    """

    samples: NDArray[np.float32]
    arrived: float
    lost: int = 0
    flagged: bool = False


class Ring:
    """Of fixed slots, for one thread that writes and one that reads.

    `write` may be called where nothing may wait, as in an audio callback: it copies, counts and returns, with no
    lock, no array made and nothing that grows. A full ring is an overrun: what does not fit is lost, and its
    length told before the next block that fits. The writer alone sets `_written` and the reader alone `_taken`,
    each after it is done with the slot; Python makes such a store whole and visible in order.
    """

    def __init__(self, slots: int, frames: int, channels: int) -> None:
        """slots of so many samples (frames) of so many channels each. Raises SpecError."""
        if min(slots, frames, channels) < 1:
            raise SpecError("a ring must have slots, samples and channels")
        memory = np.zeros((slots, frames, channels), np.float32)
        self.overruns = 0  # writes of which something did not fit
        self.channels = channels
        self._slots = list(memory)  # views, made once: indexing the array would make one each time
        self._frames = frames
        self._counts = [0] * slots
        self._arrived = [0.0] * slots
        self._lost = [0] * slots
        self._flagged = [False] * slots
        self._owed = 0  # samples lost since the last slot that was written
        self._flag = False  # and whether the device said so
        self._written = 0
        self._taken = 0

    def __len__(self) -> int:
        """Slots that wait to be read."""
        return self._written - self._taken

    @property
    def owed(self) -> int:
        """Samples lost behind the newest block: not told yet, and exact only while the writer rests."""
        return self._owed

    @property
    def full(self) -> bool:
        return len(self) >= len(self._slots)

    def write(self, indata: NDArray[np.float32], lost: int = 0, flagged: bool = False) -> None:
        """indata [n, channels], any n; lost: samples that are missing before it; flagged: as of a block.

        Of the writer only.
        """
        self._owed += lost
        self._flag = self._flag or flagged
        arrived = time.monotonic()
        for start in range(0, len(indata), self._frames):
            count = min(self._frames, len(indata) - start)
            if self.full:
                self._owed += len(indata) - start
                self.overruns += 1
                return
            slot = self._written % len(self._slots)
            if count == self._frames == len(indata):
                np.copyto(self._slots[slot], indata)
            else:
                self._slots[slot][:count] = indata[start : start + count]
            self._counts[slot] = count
            self._arrived[slot] = arrived
            self._lost[slot] = self._owed
            self._flagged[slot] = self._flag
            self._owed, self._flag = 0, False
            self._written += 1

    def peek(self) -> Block | None:
        """What `read` would give, left where it is."""
        return self._block(1)[0]

    def read(self, most: int = 1) -> Block | None:
        """The oldest blocks that wait, as one, or None: at least one, then more while they are fewer than `most`
        samples together and no loss lies between them. Of the reader only.
        """
        block, slots = self._block(most)
        self._taken += slots
        return block

    def _block(self, most: int) -> tuple[Block | None, int]:
        """-> and how many slots it takes."""
        if not len(self):
            return None, 0
        first = self._taken % len(self._slots)
        parts: list[NDArray[np.float32]] = []
        length = 0
        for number in range(self._taken, self._written):
            slot = number % len(self._slots)
            if parts and (length >= most or self._lost[slot] or self._flagged[slot]):
                break
            parts.append(self._slots[slot][: self._counts[slot]])
            length += self._counts[slot]
        last = (self._taken + len(parts) - 1) % len(self._slots)
        block = Block(np.concatenate(parts), self._arrived[last], self._lost[first], self._flagged[first])
        return block, len(parts)
