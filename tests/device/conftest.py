"""Every device of the machine that the network runs on, and the shipped model on it.

These tests need pytest, torch, numpy, scipy, safetensors and kymatio alone, so that they run on a bare machine with a
GPU (`tests/benchmarks/gpu.py`). Each runs on the CPU, too: there a stand-in replaces CUDA graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from streamtag.model import TaggerNetwork, load_tagger
from streamtag.model.cuda_graphs import GraphCapture
from tests.conftest import Need
from tests.inference.conftest import noise
from tests.model.fake_capture import FakeCapture

SHIPPED = Path(__file__).parents[2] / "streamtag" / "weights" / "streamtag.safetensors"
TOLERANCE = 1e-4  # between devices: of probabilities, and of features relative to their norm


@dataclass(frozen=True)
class DeviceTagger:
    """The shipped model on one device, as a session needs it."""

    network: TaggerNetwork

    @property
    def device(self) -> torch.device:
        return self.network.head.weight.device

    def capture(self) -> GraphCapture | None:
        """None on a GPU, where work is captured as CUDA graphs in any case."""
        return None if self.device.type == "cuda" else FakeCapture()


@pytest.fixture(scope="session")
def reference() -> DeviceTagger:
    """The shipped model on the CPU."""
    return DeviceTagger(load_tagger(SHIPPED))


@pytest.fixture
def gpu(need: Need) -> None:
    """Skip the test where there is no GPU."""
    need("cuda", torch.cuda.is_available(), "machine has no GPU that this torch can use")


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def tagger(request: pytest.FixtureRequest, need: Need) -> DeviceTagger:
    if request.param == "cuda":
        need("cuda", torch.cuda.is_available(), "machine has no GPU that this torch can use")
    return DeviceTagger(load_tagger(SHIPPED, request.param))


def noises(streams: int, samples: int) -> torch.Tensor:
    """Return [streams, samples], each different."""
    return torch.from_numpy(np.stack([noise(samples, seed) for seed in range(streams)]))
