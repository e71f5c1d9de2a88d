"""Streams of a pool on a device, each as alone on the CPU: they join, leave, lose audio, restart and move."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterable

import numpy as np
import pytest
import torch

from streamtag.inference.batch import PooledSession, SessionPool
from streamtag.inference.frame import TagFrame
from streamtag.inference.session import Session
from streamtag.model import BatchedTagger
from streamtag.model.cuda_graphs import CudaGraphs
from tests.device.conftest import TOLERANCE, DeviceTagger
from tests.inference.conftest import HOP, agree, drain, noise

pytestmark = pytest.mark.slow  # on the CPU, tests of model, inference and trainer show the same
SLOTS = 8


def open_pool(tagger: DeviceTagger, slots: int = SLOTS, precision: str = "float32") -> SessionPool:
    return SessionPool(tagger, slots, precision, capture=tagger.capture())


def test_streams_that_join_and_leave(tagger: DeviceTagger, reference: DeviceTagger) -> None:
    """Batches of every size from 1 to the pool's; a stream that joins gets a slot that another has left."""
    pool, rng = open_pool(tagger), np.random.default_rng(1)
    alone: dict[PooledSession, Session] = {}
    frames: dict[PooledSession, list[TagFrame]] = {}
    expected: dict[PooledSession, list[TagFrame]] = {}
    ended = 0

    def take(stepped: Iterable[tuple[PooledSession, list[TagFrame]]]) -> None:
        for session, new in stepped:
            frames[session] += new

    for turn in range(36):
        if len(pool) < SLOTS and rng.random() < 0.6:
            session = pool.add()
            alone[session], frames[session], expected[session] = Session(reference), [], []
        for session, other in alone.items():
            action = rng.random()
            if action < 0.7:
                audio = noise(int(rng.integers(0, 2 * HOP)), int(rng.integers(1 << 30)))
                session.feed(audio)
                expected[session] += other.feed(audio)
            elif action < 0.8:
                session.insert_gap(12 * HOP + turn)
                expected[session] += other.insert_gap(12 * HOP + turn)
            elif action < 0.85:
                session.reset_context()
                other.reset_context()
        chosen = [session for session in alone if rng.random() < 0.7]
        take(pool.step(chosen))
        if alone and rng.random() < 0.2:
            leaver = list(alone)[int(rng.integers(len(alone)))]
            leaver.flush()
            expected[leaver] += alone.pop(leaver).flush()
            take(drain(pool).items())
            leaver.remove()
            agree(frames.pop(leaver), expected.pop(leaver))
            ended += 1
    take(drain(pool).items())
    for session in alone:
        agree(frames[session], expected[session])
    assert ended > 3
    assert sum(map(len, expected.values())) > 20


def test_a_stream_moves_to_the_cpu_and_back(tagger: DeviceTagger, reference: DeviceTagger) -> None:
    audio = noise(30 * HOP)
    expected = Session(reference).feed(audio)
    pools = [open_pool(reference, 2), open_pool(tagger, 3)]
    frames: list[TagFrame] = []
    session = pools[0].add()
    for n, part in enumerate(np.array_split(audio, 6)):
        session.feed(part)
        while stepped := pools[n % 2].step():
            frames += stepped[0][1]
        moved = pools[(n + 1) % 2].add(session.export_state())
        session.remove()
        session = moved
    agree(frames, expected)


def test_a_state_comes_back_as_it_was(tagger: DeviceTagger) -> None:
    batched = BatchedTagger(tagger.network, 3, capture=tagger.capture())
    rows = np.arange(3)
    for n in range(4):
        batched.step(np.stack([noise(HOP, 10 * n + row) for row in range(3)]), rows)
    saved = batched.save_row(1)
    batched.load_row(2, saved)
    for name, array in batched.save_row(2).items():
        np.testing.assert_array_equal(array, saved[name])
    assert not np.array_equal(batched.save_row(0)["gru.state"], saved["gru.state"])


def test_more_streams_than_one_batch(tagger: DeviceTagger, reference: DeviceTagger) -> None:
    """Two batches of the largest size and a part: rows must not be exchanged between them."""
    streams = 40 if tagger.device.type == "cpu" else 1100
    hops = [np.stack([noise(HOP, n * 10_000 + row) for row in range(streams)]) for n in range(3)]
    batched, rows = BatchedTagger(tagger.network, streams, capture=tagger.capture()), np.arange(streams)
    order = np.random.default_rng(0).permutation(streams)
    for hop in hops:
        found = batched.step(hop[order], rows[order])
    probed = order[[0, streams // 2, streams - 1]]
    single = BatchedTagger(reference.network, 3)
    for hop in hops:
        expected = single.step(hop[probed], np.arange(3))
    np.testing.assert_allclose(found[[0, streams // 2, streams - 1]], expected, atol=TOLERANCE)


def test_bfloat16_weights(tagger: DeviceTagger, reference: DeviceTagger) -> None:
    pool, audio = open_pool(tagger, 1, "bfloat16"), noise(20 * HOP)
    session = pool.add()
    session.feed(audio)
    agree(drain(pool)[session], Session(reference).feed(audio), 3e-2)


def test_several_threads_share_a_device(tagger: DeviceTagger, reference: DeviceTagger) -> None:
    """A pool that captures its work, and sessions of other threads that use the device meanwhile."""
    audio, results, errors = noise(12 * HOP), {}, []
    expected = Session(reference).feed(audio)

    def alone(name: str) -> None:
        try:
            results[name] = Session(tagger).feed(audio)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=alone, args=(str(n),)) for n in range(3)]
    for thread in threads:
        thread.start()
    pool = open_pool(tagger, 8)
    sessions = [pool.add() for _ in range(8)]
    frames: dict[PooledSession, list[TagFrame]] = {session: [] for session in sessions}
    for n, session in enumerate(sessions):  # one more each time: all sizes are captured
        session.feed(audio[: HOP * 6])
        for stepped, new in pool.step(sessions[: n + 1]):
            frames[stepped] += new
    for session, new in drain(pool).items():
        frames[session] += new
    for thread in threads:
        thread.join()
    assert not errors
    for found in results.values():
        agree(found, expected)
    for session in sessions:
        agree(frames[session], expected[: len(frames[session])])


@pytest.mark.cuda
@pytest.mark.usefixtures("gpu")
def test_a_cuda_graph_reads_the_values_at_the_time_of_the_replay() -> None:
    graphs = CudaGraphs(torch.device("cuda:0"))
    x, y = torch.ones(4, device="cuda"), torch.zeros(4, device="cuda")

    def work() -> None:
        y.copy_(2 * x)

    replay = graphs.capture(work)
    x.fill_(21)
    replay()
    graphs.wait()
    assert y.tolist() == [42.0] * 4


@pytest.mark.cuda
@pytest.mark.usefixtures("gpu")
def test_a_graph_in_a_cycle_is_not_freed_during_a_capture() -> None:
    """A pool that was given up and refers to itself; garbage is collected at every allocation."""
    thresholds, device = gc.get_threshold(), torch.device("cuda", 0)
    values = torch.ones(4, device=device)
    graphs = CudaGraphs(device)

    def work() -> None:
        for _ in range(8):
            values.add_(1)
            _ = [[] for _ in range(2000)]

    for _ in range(8):
        given_up: list[object] = [CudaGraphs(device).capture(work)]
        given_up.append(given_up)
    del given_up
    gc.set_threshold(1)
    try:
        replay = graphs.capture(work)
    finally:
        gc.set_threshold(*thresholds)
    before = float(values[0])
    replay()
    graphs.wait()
    assert float(values[0]) == before + 8
