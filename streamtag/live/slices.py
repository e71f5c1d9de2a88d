"""Chunks of a whole sound become slices of the size that the network is fastest with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from streamtag.live.resample import SAMPLE_RATE

FIRST_S = 1.0  # s; small, so that the first frame comes at once
LARGEST_S = 16.0  # s; beyond it nothing gets faster, only larger
_GROWTH = 2.0


def in_slices(chunks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Joins chunks [n] to slices that grow from FIRST_S to about LARGEST_S; the last may be shorter."""
    parts: list[NDArray[np.float32]] = []
    length, size = 0, FIRST_S
    for chunk in chunks:
        parts.append(chunk)
        length += len(chunk)
        if length >= size * SAMPLE_RATE:
            yield np.concatenate(parts)
            parts, length = [], 0
            size = min(size * _GROWTH, LARGEST_S)
    if parts:
        yield np.concatenate(parts)
