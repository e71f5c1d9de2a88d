"""What two processes hand each other by way of memory that both have: hops one way, probabilities the other."""

from __future__ import annotations

import mmap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SharedHopBufferSpec:
    """Of up to `most` streams in a step. hop: samples."""

    most: int
    hop: int
    tags: int

    @property
    def nbytes(self) -> int:
        """Of all of it."""
        return self.most * (8 + 4 * self.hop + 4 * self.tags)


class SharedHopBuffer:
    """Views of the memory: rows [most] and audio [most, hop] are written by the one who asks, probs [most, tags] by
    the one who answers. Whose turn it is has to be told some other way."""

    def __init__(self, memory: mmap.mmap, offset: int, spec: SharedHopBufferSpec) -> None:
        """offset: in bytes, a multiple of 8."""
        self.rows: NDArray[np.int64] = np.frombuffer(memory, np.int64, spec.most, offset)
        offset += self.rows.nbytes
        self.audio: NDArray[np.float32] = np.frombuffer(memory, np.float32, spec.most * spec.hop, offset)
        offset += self.audio.nbytes
        self.probs: NDArray[np.float32] = np.frombuffer(memory, np.float32, spec.most * spec.tags, offset)
        self.audio, self.probs = self.audio.reshape(spec.most, spec.hop), self.probs.reshape(spec.most, spec.tags)
