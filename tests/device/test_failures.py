"""A device that has no memory left, or is lost: one clear line, and nothing happens to other streams."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch

from streamtag.errors import DeviceError
from streamtag.inference.batch import PooledSession, SessionPool
from streamtag.inference.frame import TagFrame
from streamtag.inference.session import Session
from streamtag.model import BatchedTagger, Scattering, ScatteringSpec, load_tagger
from streamtag.model.cuda_graphs import Work
from streamtag.model.states import StreamStates
from tests.device.conftest import SHIPPED, DeviceTagger
from tests.inference.conftest import HOP, agree, noise
from tests.model.fake_capture import FakeCapture

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which"
LOST = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"


class FullDevice(FakeCapture):
    """Has no memory for some captures, by their numbers from 1 on."""

    def __init__(self, *fail: int) -> None:
        super().__init__()
        self.fail, self.attempts = fail, 0

    def capture(self, work: Work) -> Work:
        self.attempts += 1
        if self.attempts in self.fail:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return super().capture(work)


class LostDevice(FakeCapture):
    """Fails at everything from a certain moment on."""

    is_lost = False

    def wait(self) -> None:
        if self.is_lost:
            raise RuntimeError(LOST)
        super().wait()


@contextmanager
def little_memory(device: torch.device, mib: int) -> Iterator[None]:
    """Let this process have only so much more memory of the GPU; on a CPU nothing changes."""
    if device.type == "cpu":
        yield
        return
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + mib * MIB) / total, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()


def step(pool: SessionPool, frames: dict[PooledSession, list[TagFrame]], times: int) -> None:
    for _ in range(times):
        for session, new in pool.step():
            frames[session] += new


def test_streams_are_computed_in_smaller_batches_where_memory_is_short(
    tagger: DeviceTagger, reference: DeviceTagger
) -> None:
    """Streams join a pool whose device has no memory for larger batches than those that it has computed so far."""
    joining, audio = (28 if tagger.device.type == "cpu" else 252), noise(6 * HOP)
    capture = FullDevice(2, 3, 4) if tagger.device.type == "cpu" else None  # of 32, 16 and 8 streams
    pool, expected = SessionPool(tagger, 256, capture=capture), Session(reference).feed(audio)
    frames: dict[PooledSession, list[TagFrame]] = {pool.add(): [] for _ in range(4)}
    for session in frames:
        session.feed(audio)
    step(pool, frames, 2)
    with little_memory(tagger.device, 64):
        joined = [pool.add() for _ in range(joining)]
        for session in joined:
            frames[session] = []
            session.feed(audio)
        step(pool, frames, 6)
    for found in frames.values():
        agree(found, expected)


class FullScattering(Scattering):
    """Finds no memory for its state."""

    def state_between_hops(self, _: int) -> NoReturn:
        raise torch.OutOfMemoryError(OUT_OF_MEMORY)


def test_no_memory_for_the_states_is_one_line(tagger: DeviceTagger) -> None:
    network = tagger.network
    if tagger.device.type == "cpu":
        network = load_tagger(SHIPPED)
        network.front_end = FullScattering(ScatteringSpec())
    with little_memory(tagger.device, 256), pytest.raises(DeviceError) as raised:
        BatchedTagger(network, 100_000)
    assert str(raised.value).startswith("not enough memory on the GPU for the states of 100,000 streams: ")
    assert "Tried to allocate" in str(raised.value)
    assert "\n" not in str(raised.value)
    batched = BatchedTagger(tagger.network, 1, capture=tagger.capture())  # the memory was given back
    assert np.isfinite(batched.step(noise(HOP)[None], np.zeros(1, np.int64))).all()


def test_no_memory_for_a_single_stream_is_one_line_and_changes_no_stream(reference: DeviceTagger) -> None:
    audio = noise(4 * HOP)
    states = StreamStates(reference.network, 3)  # with a row for padding
    batched = BatchedTagger(reference.network, 2, capture=FullDevice(2), states=states)
    batched.step(audio[:HOP][None], np.array([0]))
    before = batched.save_row(0)
    full = BatchedTagger(reference.network, 2, capture=FullDevice(1, 2), states=states)
    with pytest.raises(DeviceError, match=r"^not enough memory on the GPU: CUDA out of memory\. Tried to .* GiB$"):
        full.step(np.stack([audio[:HOP]] * 2), np.arange(2))
    for name, array in batched.save_row(0).items():
        np.testing.assert_array_equal(array, before[name])


def lose(lost: SessionPool, other: SessionPool, reference: DeviceTagger, lose_device: object) -> None:
    """Check that a pool on a device that is lost says so in one line, each time, and that another pool goes on."""
    audio = noise(9 * HOP)
    expected = Session(reference).feed(audio)
    gone, frames = [lost.add() for _ in range(3)], {other.add(): list[TagFrame]() for _ in range(2)}
    for session in [*gone, *frames]:
        session.feed(audio)
    lost.step()
    step(other, frames, 3)
    lose_device()  # type: ignore[operator]
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"^the GPU failed: CUDA error: ") as raised:
            lost.step()
        assert "\n" not in str(raised.value)
        step(other, frames, 1)
    step(other, frames, 9)
    for found in frames.values():
        agree(found, expected)


def test_a_lost_device_ends_no_stream_of_another(reference: DeviceTagger) -> None:
    device = LostDevice()
    pool = SessionPool(reference, 3, capture=device)
    lose(pool, SessionPool(reference, 2), reference, lambda: setattr(device, "is_lost", True))


def lose_a_gpu() -> None:
    """Provoke a failed assertion on the GPU, after which no call to CUDA succeeds in this process."""
    reference, tagger = DeviceTagger(load_tagger(SHIPPED)), DeviceTagger(load_tagger(SHIPPED, "cuda"))

    def lose_device() -> None:
        with suppress(RuntimeError):
            torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")].cpu()

    lose(SessionPool(tagger, 3), SessionPool(reference, 2), reference, lose_device)
    print("checked", flush=True)
    os._exit(0)  # the lost device would make Python's exit fail


@pytest.mark.cuda
@pytest.mark.usefixtures("gpu")
def test_a_lost_gpu_ends_no_stream_of_another() -> None:
    """In a process of its own."""
    program = "from tests.device.test_failures import lose_a_gpu; lose_a_gpu()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=80
    )
    assert done.stdout.strip() == "checked", done.stderr[-2000:]
