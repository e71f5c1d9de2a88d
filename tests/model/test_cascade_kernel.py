"""The cascade in compiled code computes what PyTorch computes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from streamtag.model import Scattering, ScatteringSpec, cascade_kernel
from streamtag.model.batched import torch_threads
from tests.conftest import Need

HOP = 4096


@pytest.fixture(scope="module", autouse=True)
def _compiled(need: Need) -> None:
    need("compiler", cascade_kernel.COMPILED, "was installed without a compiler")


def without_kernel(spec: ScatteringSpec) -> Scattering:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cascade_kernel, "COMPILED", False)
        scattering = Scattering(spec)
        scattering.forward(torch.zeros(1, 1))  # the first use builds the offline part
    return scattering


def noise(streams: int, samples: int) -> Tensor:
    return 0.1 * torch.randn(streams, samples, generator=torch.Generator().manual_seed(3))


def streamed(scattering: Scattering, audio: Tensor) -> Tensor:
    frames, state = scattering.step(audio, scattering.initial_state(len(audio)))
    return torch.cat([frames, scattering.flush(state)[0]], dim=1)


def differ(ours: Tensor, theirs: Tensor) -> float:
    return float(((ours - theirs).abs().amax((0, 1)) / theirs.abs().amax((0, 1))).max())


@pytest.mark.parametrize("streams", [1, 3, 9])
def test_frames_are_those_of_pytorch(streams: int) -> None:
    spec, audio = ScatteringSpec(), noise(streams, 9 * HOP + 77)
    compiled, plain = Scattering(spec), without_kernel(spec)
    for run in (Scattering.forward, streamed):
        ours, theirs = run(compiled, audio), run(plain, audio)
        assert 0 < differ(ours, theirs) < 2e-5  # zero would be the same code
        assert differ(ours, run(plain, audio.roll(1))) > 1e-3


def test_threads_change_nothing() -> None:
    scattering, audio = Scattering(ScatteringSpec()), noise(2, 40 * HOP)
    with torch_threads(2):
        two = scattering.forward(audio)
    with torch_threads(1):
        assert torch.equal(scattering.forward(audio), two)


def test_a_stream_of_garbage_changes_no_other() -> None:
    scattering, audio = Scattering(ScatteringSpec()), noise(9, 6 * HOP)
    with torch_threads(2):
        clean = streamed(scattering, audio)
        audio[4] = float("nan")
        dirty = streamed(scattering, audio)
    assert dirty[4].isnan().any()
    others = [n for n in range(9) if n != 4]
    assert torch.equal(dirty[others], clean[others])


@pytest.mark.parametrize("octaves", [6, 7, 9, 11])
def test_other_lengths(octaves: int) -> None:
    """Short rows, some of which do not fill a vector, and long ones."""
    T = 2**octaves
    spec = ScatteringSpec(J=octaves, T=T, hop=4 * T, window=8 * T, lookahead=6 * T)
    audio = noise(2, 9 * spec.hop + 5)
    assert differ(streamed(Scattering(spec), audio), streamed(without_kernel(spec), audio)) < 2e-5


def test_without_compiled_code_it_works_too() -> None:
    """The import of the compiled part fails in a process of its own."""
    program = (
        "import sys; sys.modules['streamtag.model._cascade'] = None\n"
        "import torch; from streamtag.model import Scattering, ScatteringSpec, cascade_kernel\n"
        "print(cascade_kernel.COMPILED, Scattering(ScatteringSpec()).forward(torch.ones(1, 9999)).shape[1])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "False 3\n"
