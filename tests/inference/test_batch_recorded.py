"""A pool whose hops are recorded and repeated in batches of fixed sizes, as on a GPU; a stand-in for the graphs."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from streamtag.api import load
from streamtag.inference.batch import SessionPool
from streamtag.inference.session import Session
from streamtag.model.batched import BatchedTagger
from tests.inference.test_batch import Streams, agree, drain, noise
from tests.model.test_cuda_graphs import Again


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Again:
    """Of all pools made meanwhile."""
    recorder = Again()
    monkeypatch.setattr("streamtag.model.batched.BatchedTagger", functools.partial(BatchedTagger, capture=recorder))
    return recorder


def test_streams_that_come_and_go_at_random_are_each_as_if_alone(model: Path, recorder: Again) -> None:
    class Recorded(Streams):
        tagger = load(model, "cpu")

    limits = settings(max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Recorded, settings=limits)
    assert recorder.repeated


def test_the_shipped_model_in_recorded_batches_gives_what_it_gives_alone(recorder: Again) -> None:
    tagger = load(device="cpu")
    pool = SessionPool(tagger, slots=5)
    sounds = [noise(4096 * (6 + n), n) for n in range(5)]
    sessions = [pool.add() for _ in sounds]
    for session, sound in zip(sessions, sounds, strict=True):
        session.feed(sound)
    frames = drain(pool)
    for session, sound in zip(sessions, sounds, strict=True):
        agree(frames[session], Session(tagger).feed(sound))
    assert recorder.recorded == 4, "sizes 8, 4, 2 and 1, as one stream after the other has no more sound"
    assert np.abs(frames[sessions[0]][-1].probs - frames[sessions[1]][-1].probs).max() > 1e-3
