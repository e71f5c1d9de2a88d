"""Worker processes compute what one process does; a process that ends takes only the streams of its steps with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.api import Tagger
from streamtag.errors import DeviceError, SpecError
from streamtag.inference.batch import SessionPool
from streamtag.inference.worker import available
from streamtag.inference.worker_pool import CHANNELS, WorkerPool
from streamtag.model.batched import BatchedTagger
from tests.benchmarks.process import is_running

HOP, ROWS = 4096, 70  # more than one step of a process has
Audio = NDArray[np.float32]

pytestmark = pytest.mark.skipif(not available(), reason="this system cannot share memory in the way that is needed")


@pytest.fixture(scope="module")
def workers(tagger: Tagger) -> Iterator[WorkerPool]:
    workers = WorkerPool(tagger.network, ROWS, "float32", 2)
    yield workers
    workers.close()


def hops(streams: int, seed: int) -> Audio:
    return np.random.default_rng(seed).standard_normal((streams, HOP), np.float32) * np.float32(0.1)


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_any_process_steps_any_stream_as_a_single_process_does(tagger: Tagger, workers: WorkerPool) -> None:
    alone, rng = BatchedTagger(tagger.network, ROWS), np.random.default_rng(1)
    for network in (alone, workers):
        network.reset(np.arange(ROWS))
    for turn in range(12):
        rows = rng.permutation(ROWS)[: rng.integers(1, ROWS + 1)]
        audio = hops(len(rows), turn)
        np.testing.assert_allclose(workers.step(audio, rows), alone.step(audio, rows), atol=1e-5)
        for network in (alone, workers):
            if turn % 4 == 2:
                network.reset(rows[:3])
                network.reset_context(rows[3:5])
            if turn % 4 == 3:
                network.load_row(int(rows[0]), network.save_row(int(rows[-1])))
    moved, fresh = alone.save_row(0), BatchedTagger(tagger.network, 1).save_row(0)
    assert any(np.abs(moved[name] - fresh[name]).max() > 1e-3 for name in moved)  # the state is not empty


def test_threads_that_step_at_once_do_not_disturb_each_other(tagger: Tagger, workers: WorkerPool) -> None:
    alone, shares = BatchedTagger(tagger.network, ROWS), np.array_split(np.arange(ROWS), 5)
    workers.reset(np.arange(ROWS))

    def run(number: int) -> list[Audio]:
        rows = shares[number]
        return [workers.step(hops(len(rows), 100 * number + turn), rows) for turn in range(6)]

    with ThreadPoolExecutor(5) as threads:
        results = list(threads.map(run, range(5)))
    for number, rows in enumerate(shares):
        for turn in range(6):
            expected = alone.step(hops(len(rows), 100 * number + turn), rows)
            np.testing.assert_allclose(results[number][turn], expected, atol=1e-5)
    assert workers.cpu_s > 0


def test_a_step_that_fails_is_reported_and_its_process_continues(workers: WorkerPool) -> None:
    before = workers.pids
    with pytest.raises(DeviceError, match="IndexError"):
        workers.step(hops(1, 0), np.array([ROWS + 5]))
    assert workers.step(hops(1, 0), np.array([3])).shape[0] == 1
    assert workers.pids == before


@pytest.mark.slow
def test_a_killed_process_is_replaced_once_and_fails_only_the_steps_that_it_held(tagger: Tagger) -> None:
    alone, workers = BatchedTagger(tagger.network, 4), WorkerPool(tagger.network, 4, "float32", 1)
    failures: list[str] = []

    def run(row: int) -> None:
        try:
            workers.step(hops(1, row), np.array([row]))
        except DeviceError as error:
            failures.append(str(error))

    try:
        workers.reset(np.arange(4))
        rows = np.arange(2)
        np.testing.assert_allclose(workers.step(hops(2, 0), rows), alone.step(hops(2, 0), rows), atol=1e-5)
        (lost,), cpu_s = workers.pids, workers.cpu_s
        os.kill(lost, signal.SIGSTOP)
        threads = [threading.Thread(target=run, args=(2 + channel,)) for channel in range(CHANNELS)]
        for thread in threads:
            thread.start()
        assert wait_until(lambda: workers.running_steps == CHANNELS)
        os.kill(lost, signal.SIGKILL)
        for thread in threads:
            thread.join(30)
        assert len(failures) == CHANNELS
        assert all("it has ended" in failure for failure in failures)
        np.testing.assert_allclose(workers.step(hops(2, 2), rows), alone.step(hops(2, 2), rows), atol=1e-5)
        (new,) = workers.pids
        assert new != lost
        workers.step(hops(1, 9), np.array([3]))
        assert workers.pids == (new,)
        assert workers.cpu_s >= cpu_s > 0
    finally:
        workers.close()
    assert not is_running(new)


@pytest.mark.slow
def test_a_process_that_cannot_be_replaced_is_out_of_service_until_it_can(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = WorkerPool(tagger.network, 4, "float32", 2, restart_delay_s=0.05)
    try:
        workers.reset(np.arange(4))
        first, second = workers.pids
        with monkeypatch.context() as environment:
            environment.setenv("PYTHONHOME", "/nowhere")  # no other Python starts
            os.kill(first, signal.SIGKILL)
            failures = sum(fails(workers, row) for row in range(4))
            assert failures <= 1  # the first step that it was given, but no later one
            assert wait_until(lambda: first not in workers.pids)
            assert not any(fails(workers, row) for row in range(4) for _ in range(3))
            os.kill(second, signal.SIGKILL)
            assert wait_until(lambda: fails(workers, 3, "no worker process is left"))
        assert wait_until(lambda: not fails(workers, 2))
    finally:
        workers.close()
    assert not any(map(is_running, workers.pids))


def fails(workers: WorkerPool, row: int, reason: str = "") -> bool:
    try:
        workers.step(hops(1, 0), np.array([row]))
    except DeviceError as error:
        return reason in str(error)
    return False


@pytest.mark.slow
def test_a_pool_that_is_closed_while_a_process_is_replaced_leaves_none_behind(tagger: Tagger) -> None:
    workers = WorkerPool(tagger.network, 1, "float32", 1, restart_delay_s=60)
    (lost,) = workers.pids
    os.kill(lost, signal.SIGKILL)
    assert fails(workers, 0)
    workers.close()
    workers.close()
    assert not any(map(is_running, workers.pids))
    assert fails(workers, 0)


@pytest.mark.slow
def test_threads_compute_until_a_process_has_started(tagger: Tagger) -> None:
    """The streams continue in the processes, and their states are the same ones."""
    alone, rows = BatchedTagger(tagger.network, 3), np.arange(3)
    with SessionPool(tagger, 3, processes=1, wait_for_start=False) as pool:
        assert not pool.is_ready
        sessions = [pool.add() for _ in rows]
        cpu_s = None
        for turn in range(12):
            audio = hops(3, turn)
            for session, samples in zip(sessions, audio, strict=True):
                session.feed(samples[HOP // 2 :] if turn == 0 else samples)
            expected = alone.step(
                audio if turn else np.concatenate([np.zeros_like(audio[:, : HOP // 2]), audio[:, HOP // 2 :]], 1), rows
            )
            stepped = pool.step(sessions)
            for (_, frames), probs in zip(stepped, expected, strict=True):
                assert not frames or np.abs(frames[0].probs - probs).max() < 1e-5
            if turn == 5:
                assert wait_until(lambda: pool.is_ready)
                cpu_s = pool.cpu_s() - time.process_time()
        assert cpu_s is not None
        assert pool.cpu_s() - time.process_time() > cpu_s > 0  # a process has computed


def test_a_process_that_does_not_start_is_reported_while_threads_compute(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")  # no other Python starts

    def has_failed() -> bool:
        try:
            pool.check_started()
        except DeviceError as error:
            return "did not start" in str(error)
        return False

    with SessionPool(tagger, 1, processes=1, wait_for_start=False) as pool:
        session = pool.add()
        assert wait_until(has_failed)
        session.feed(hops(1, 0)[0])
        assert len(pool.step([session])) == 1


def test_impossible_settings_are_refused(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="int4"):
        SessionPool(tagger, 1, "int4", processes=1)
    with pytest.raises(SpecError, match="0 worker processes"):
        SessionPool(tagger, 1, processes=0)
    with monkeypatch.context() as environment:
        environment.setenv("PYTHONHOME", "/nowhere")
        with pytest.raises(DeviceError, match="did not start"):
            SessionPool(tagger, 1, processes=2)
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(SpecError, match="Linux"):
        SessionPool(tagger, 1, processes=1)


PARENT = """
import sys, time
from streamtag.api import load
from streamtag.inference.batch import SessionPool
pool = SessionPool(load(sys.argv[1], "cpu"), 2, processes=2)
print(*pool.pids, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(model: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(model)], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_running, pids))
        parent.kill()
    assert wait_until(lambda: not any(map(is_running, pids)))
