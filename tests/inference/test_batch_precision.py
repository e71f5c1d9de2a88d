"""A pool in bfloat16: the same frames, with slightly other probabilities."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import streamtag
from streamtag.errors import SpecError
from streamtag.inference.batch import SessionPool
from streamtag.inference.frame import TagFrame


def frames(pool: SessionPool) -> list[TagFrame]:
    session = pool.add()
    rng = np.random.default_rng(0)
    session.feed((0.1 * rng.standard_normal(20 * 4096)).astype(np.float32))
    session.flush()
    found = []
    while stepped := pool.step():
        found += [frame for _, new in stepped for frame in new]
    return found


def test_both_precisions_give_the_same_frames(model: Path) -> None:
    tagger = streamtag.load(model, "cpu")
    exact, fast = frames(SessionPool(tagger, 1)), frames(SessionPool(tagger, 1, "bfloat16"))
    assert [(f.index, f.start, f.end) for f in fast] == [(f.index, f.start, f.end) for f in exact]
    difference = np.abs(np.array([f.probs for f in fast]) - np.array([f.probs for f in exact]))
    assert 0 < difference.max() < 1e-2


def test_another_precision_is_refused_when_the_pool_is_made(model: Path) -> None:
    with pytest.raises(SpecError, match="precision is float32 or bfloat16, not int4"):
        SessionPool(streamtag.load(model, "cpu"), precision="int4")


def test_on_a_cpu_several_threads_step_at_once_in_bfloat16(model: Path) -> None:
    pool = SessionPool(streamtag.load(model, "cpu"), 3, "bfloat16")
    sessions = [pool.add() for _ in range(3)]
    sound = (0.1 * np.random.default_rng(1).standard_normal(9 * 4096)).astype(np.float32)
    found: list[list[np.ndarray]] = [[], [], []]

    def work(at: int) -> None:
        sessions[at].feed(sound)
        while stepped := pool.step([sessions[at]]):
            found[at] += [frame.probs for _, new in stepped for frame in new]

    threads = [threading.Thread(target=work, args=(at,)) for at in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found[0]) == 8
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
