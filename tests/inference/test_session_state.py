"""The state of a session in a pool: when it can be exported, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from streamtag.api import Tagger
from streamtag.errors import SpecError
from streamtag.inference.batch import SessionPool, SessionState
from streamtag.inference.hop_buffer import HopBufferState
from tests.inference.conftest import HOP, drain, noise


def test_a_state_is_exported_only_between_hops(tagger: Tagger) -> None:
    pool = SessionPool(tagger, slots=1)
    session = pool.add()
    session.feed(noise(2 * HOP))
    with pytest.raises(ValueError, match="all its hops are done"):
        session.export_state()
    drain(pool)
    session.export_state()
    session.flush()
    drain(pool)
    with pytest.raises(ValueError, match="ended"):
        session.export_state()


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays, name: arrays.pop(name),
        lambda arrays, name: arrays.update({name: np.zeros((3, 3), np.float32)}),
        lambda arrays, name: arrays.update({name: np.full_like(arrays[name], np.nan)}),
        lambda arrays, name: arrays.update({name: arrays[name].astype(np.int64)}),
    ],
    ids=["missing", "another shape", "not finite", "another type"],
)
def test_a_damaged_state_is_refused_and_takes_no_slot(tagger: Tagger, damage: Callable[..., object]) -> None:
    pool = SessionPool(tagger, slots=1)
    session = pool.add()
    session.feed(noise(2 * HOP))
    drain(pool)
    state = session.export_state()
    session.remove()
    arrays = dict(state.arrays)
    damage(arrays, min(arrays))
    too_much_pending = HopBufferState(state.buffer.samples, state.buffer.frames, True, np.zeros(HOP, np.float32))
    for damaged in (SessionState(state.buffer, arrays), SessionState(too_much_pending, state.arrays)):
        with pytest.raises(SpecError):
            pool.add(damaged)
    assert len(pool) == 0
    pool.add(state)


@pytest.mark.parametrize("name", ["samples", "frames", "begun", "lost"])
@pytest.mark.parametrize("value", [None, -1, "1", 0.5, [[1]], [[5, 2]], [["a", "b"]], True, {}])
def test_damaged_numbers_are_refused(name: str, value: object) -> None:
    pending = np.zeros(0, np.float32)
    numbers = HopBufferState(100, 1, True, pending, ((3, 5),)).to_json()
    assert HopBufferState.from_json(numbers, pending).to_json() == numbers
    if (name, str(value)) in (("begun", "True"), ("lost", "{}")):
        return  # these are valid
    with pytest.raises(SpecError, match="damaged"):
        HopBufferState.from_json(numbers | {name: value}, pending)
