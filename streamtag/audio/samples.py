"""What a stream takes for samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def as_mono_float32(samples: ArrayLike) -> NDArray[np.float32]:
    """-> [n], float32, contiguous, finite: a copy, since the caller may reuse its buffer."""
    audio = np.asarray(samples)
    if audio.ndim != 1:
        raise ValueError(f"samples must be one-dimensional (mono), not of shape {list(audio.shape)}")
    if audio.dtype.kind != "f":
        raise ValueError(f"samples must be floating-point numbers between -1 and 1, not {audio.dtype}")
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes inf, and that 0
        audio = audio.astype(np.float32)
    audio[~np.isfinite(audio)] = 0
    return audio
