"""A small model on the CPU, noise, and the comparison of frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamtag.inference.batch import PooledSession, SessionPool
from streamtag.inference.frame import TagFrame

HOP = 4096
Audio = NDArray[np.float32]


def noise(samples: int, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(samples) * rng.uniform(0.1, 2)).astype(np.float32)


def agree(frames: list[TagFrame], expected: list[TagFrame], atol: float = 1e-4) -> None:
    """Fail unless these are the same frames, with probabilities equal to `atol`."""
    assert [(f.index, f.start, f.end) for f in frames] == [(f.index, f.start, f.end) for f in expected]
    for frame, other in zip(frames, expected, strict=True):
        np.testing.assert_allclose(frame.probs, other.probs, atol=atol)


def drain(pool: SessionPool) -> dict[PooledSession, list[TagFrame]]:
    """Step the pool until no hop is left, and return the frames of each session that had one."""
    frames: dict[PooledSession, list[TagFrame]] = {}
    while stepped := pool.step():
        for session, new in stepped:
            frames.setdefault(session, []).extend(new)
    return frames
