"""Processes that step streams together do what one alone does, and nobody is lost with one of them but its streams."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.api import Tagger, load
from streamtag.errors import DeviceError, SpecError
from streamtag.inference import worker_pool as hop_workers
from streamtag.inference.batch import SessionPool
from streamtag.inference.frame import TagFrame
from streamtag.inference.worker_pool import LANES, WorkerPool
from streamtag.model.batched import BatchedTagger

HOP, ROWS = 4096, 70  # more than one step of a process has
Sound = NDArray[np.float32]

pytestmark = pytest.mark.skipif(not hop_workers.available(), reason="this system has no memory to share so")


@pytest.fixture(scope="module")
def tagger(model: Path) -> Tagger:
    return load(model, "cpu")


@pytest.fixture(scope="module")
def workers(tagger: Tagger) -> Iterator[WorkerPool]:
    workers = WorkerPool(tagger.network, ROWS, "float32", 2)
    yield workers
    workers.close()


def sound(streams: int, seed: int) -> Sound:
    return np.random.default_rng(seed).standard_normal((streams, HOP), np.float32) * np.float32(0.1)


def until(happened: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.02)
    return happened()


def runs(pid: int) -> bool:
    """And is no process that has ended, of which nobody has taken note yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_any_process_steps_any_stream_as_one_alone_would(tagger: Tagger, workers: WorkerPool) -> None:
    alone, rng = BatchedTagger(tagger.network, ROWS), np.random.default_rng(1)
    everybody = np.arange(ROWS)
    alone.reset(everybody)
    workers.reset(everybody)
    for turn in range(12):
        rows = rng.permutation(ROWS)[: rng.integers(1, ROWS + 1)]
        audio = sound(len(rows), turn)
        np.testing.assert_allclose(workers.step(audio, rows), alone.step(audio, rows), atol=1e-5)
        for network in (alone, workers):
            if turn % 4 == 2:
                network.reset(rows[:3])
                network.reset_context(rows[3:5])
            if turn % 4 == 3:
                network.load_row(int(rows[0]), network.save_row(int(rows[-1])))
    moved, never = alone.save_row(0), BatchedTagger(tagger.network, 1).save_row(0)
    assert any(np.abs(moved[name] - never[name]).max() > 1e-3 for name in moved)  # or nothing was remembered at all


def test_threads_that_step_at_once_do_not_disturb_each_other(tagger: Tagger, workers: WorkerPool) -> None:
    alone = BatchedTagger(tagger.network, ROWS)
    shares = np.array_split(np.arange(ROWS), 5)
    workers.reset(np.arange(ROWS))
    found: dict[int, list[Sound]] = {}

    def run(number: int) -> None:
        rows = shares[number]
        found[number] = [workers.step(sound(len(rows), 100 * number + turn), rows) for turn in range(6)]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, rows in enumerate(shares):
        for turn in range(6):
            mine = alone.step(sound(len(rows), 100 * number + turn), rows)
            np.testing.assert_allclose(found[number][turn], mine, atol=1e-5)
    assert workers.cpu_s > 0


def test_a_step_that_fails_is_told_and_its_process_goes_on(workers: WorkerPool) -> None:
    before = workers.pids
    with pytest.raises(DeviceError, match="IndexError"):
        workers.step(sound(1, 0), np.array([ROWS + 5]))
    assert workers.step(sound(1, 0), np.array([3])).shape[0] == 1
    assert workers.pids == before


def test_a_process_that_is_killed_is_replaced(tagger: Tagger) -> None:
    alone, workers = BatchedTagger(tagger.network, 4), WorkerPool(tagger.network, 4, "float32", 1)
    try:
        workers.reset(np.arange(4))
        rows = np.arange(2)
        np.testing.assert_allclose(workers.step(sound(2, 0), rows), alone.step(sound(2, 0), rows), atol=1e-5)
        (lost,), cpu_s = workers.pids, workers.cpu_s
        os.kill(lost, signal.SIGKILL)
        with pytest.raises(DeviceError, match="it has ended"):
            workers.step(sound(1, 1), np.array([3]))
        assert workers.pids != (lost,)
        assert workers.cpu_s >= cpu_s > 0
        # those that were in no step with it go on where they stood
        np.testing.assert_allclose(workers.step(sound(2, 2), rows), alone.step(sound(2, 2), rows), atol=1e-5)
    finally:
        workers.close()
    assert not any(map(runs, workers.pids))


def test_whoever_waits_for_a_process_that_is_killed_is_told_and_it_is_replaced_once(tagger: Tagger) -> None:
    workers = WorkerPool(tagger.network, LANES + 1, "float32", 1)
    failures: list[str] = []

    def run(row: int) -> None:
        try:
            workers.step(sound(1, row), np.array([row]))
        except DeviceError as error:
            failures.append(str(error))

    try:
        workers.reset(np.arange(LANES + 1))
        (lost,) = workers.pids
        os.kill(lost, signal.SIGSTOP)
        threads = [threading.Thread(target=run, args=(row,)) for row in range(LANES)]
        for thread in threads:
            thread.start()
        assert until(lambda: workers.asked == LANES)
        os.kill(lost, signal.SIGKILL)
        for thread in threads:
            thread.join(30)
        assert len(failures) == LANES
        assert all("it has ended" in failure for failure in failures)
        (new,) = workers.pids
        assert new != lost
        assert workers.step(sound(1, 9), np.array([LANES])).shape[0] == 1
        assert workers.pids == (new,)
    finally:
        workers.close()


def test_a_stream_moves_from_threads_to_processes(tagger: Tagger) -> None:
    here = SessionPool(tagger, 1)
    with SessionPool(tagger, 2, processes=1) as there:
        audio = np.concatenate(list(sound(9, 5)))
        first, whole = here.add(), SessionPool(tagger, 1)
        first.feed(audio[: 4 * HOP + 99])
        frames = drain(here)
        second = there.add(first.export_state())
        second.feed(audio[4 * HOP + 99 :])
        frames += drain(there)
        whole.add().feed(audio)
        expected = drain(whole)
    assert [frame.index for frame in frames] == [frame.index for frame in expected]
    np.testing.assert_allclose([f.probs for f in frames], [f.probs for f in expected], atol=1e-5)


def drain(pool: SessionPool) -> list[TagFrame]:
    frames = []
    while stepped := pool.step():
        frames += [frame for _, given in stepped for frame in given]
    return frames


def test_what_cannot_be_is_said_at_once(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="int4"):
        SessionPool(tagger, 1, "int4", processes=1)
    with pytest.raises(SpecError, match="0 worker processes"):
        SessionPool(tagger, 1, processes=0)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/bin/false")
        with pytest.raises(DeviceError, match="did not start"):
            SessionPool(tagger, 1, processes=2)
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(SpecError, match="Linux"):
        SessionPool(tagger, 1, processes=1)


ORPHANS = """
import os, sys, time
from streamtag.api import load
from streamtag.inference.batch import SessionPool
pool = SessionPool(load(sys.argv[1], "cpu"), 2, processes=2)
print(*pool.pids, flush=True)
time.sleep(60)
"""


def test_processes_end_with_the_one_that_started_them(model: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS, str(model)], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(runs, pids))
        parent.kill()
    assert until(lambda: not any(map(runs, pids)))
