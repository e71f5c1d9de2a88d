"""Small networks and a piece of music for the mathematics."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from streamtag.audio.decoder import open_source
from streamtag.errors import ModelFileError
from streamtag.model import (
    NetworkSpec,
    Normalization,
    NormalizationSpec,
    Scattering,
    ScatteringSpec,
    StackedGRU,
    Standardization,
    TaggerNetwork,
    load_tagger,
    make_front_end,
)
from streamtag.model.front_end import FrontEnd
from streamtag.model.network import make_network
from streamtag.model.normalization import Normalizer
from streamtag.model.recurrent import FrameNetwork
from streamtag.spec import FRONT_ENDS, Cell, ConvolutionalSpec, StackSpec, TransposedSpec

WINDOWED = ("CNN 1", "CNN 2", "transposed GRU", "transposed LSTM")  # the number of carried stages


def read_model(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def check_refused(path: Path, metadata: dict[str, str], tensors: dict[str, Tensor], message: str) -> None:
    """Fail unless a model file of this content is refused in one line, which this pattern matches."""
    save_file(tensors, path, metadata)
    with pytest.raises(ModelFileError, match=message) as caught:
        load_tagger(path)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="session")
def scattering() -> Scattering:
    return Scattering(ScatteringSpec())


@pytest.fixture(scope="session")
def gru() -> StackedGRU:
    torch.manual_seed(3)
    return StackedGRU(NetworkSpec(inputs=374, hidden=32, layers=3, outputs=5)).eval().requires_grad_(False)


def stack(kind: str, inputs: int = 374, reset_after: bool = True, hidden: int = 32) -> FrameNetwork[Any]:
    """Return a network of two layers with random weights, and with random statistics if it has some.

    kind: a cell, or one of WINDOWED, whose hops have a frame for scattering's number of inputs and 16 for others.
    """
    torch.manual_seed(6)
    sizes: dict[str, Any] = {"inputs": inputs, "hidden": hidden, "outputs": 5}
    hop = 1 if inputs == 374 else 16
    window: dict[str, Any] = {"frames": 9 * hop + 2, "hop": hop, "stride": 4 * hop}
    spec: StackSpec
    if kind.startswith("CNN"):
        spec = ConvolutionalSpec(
            **sizes, **window, channels=(4, 6, 32), blocks=((9, 2), (4, 3), (2, 2)), carried=int(kind[-1])
        )
    elif kind.startswith("transposed"):
        spec = TransposedSpec(**sizes, **window, layers=2, cell=cast(Cell, kind.split()[1]), steps=7 * hop)
    else:
        spec = NetworkSpec(**sizes, layers=2, cell=cast(Cell, kind), reset_after=reset_after)
    found = make_network(spec).eval().requires_grad_(False)
    for name, tensor in [*found.named_parameters(), *found.named_buffers()]:
        if kind.startswith(("BN-LSTM", "CNN")):
            tensor.normal_(std=0.1 if "weight" in name else 0.3).add_(1.0 if "gain" in name else 0.0)
        if "variance" in name:
            tensor.abs_().add_(0.5)
    return found


@pytest.fixture(scope="session")
def tagger(scattering: Scattering, gru: StackedGRU) -> TaggerNetwork:
    return make_tagger(scattering, gru)


def make_tagger(
    front_end: FrontEnd[Any], stack: FrameNetwork[Any], settings: NormalizationSpec | None = None
) -> TaggerNetwork:
    torch.manual_seed(4)
    spec = front_end.spec
    normalization: Normalizer = Standardization(front_end.path_count)
    if isinstance(spec, ScatteringSpec):
        normalization = Normalization(settings or NormalizationSpec(), spec)
    frames = normalization.raw(front_end(torch.randn(2, 60000) * 0.1)).flatten(0, 1)
    normalization.fit(frames.mean(0), frames.std(0))
    tags = [f"tag {n}" for n in range(5)]
    return TaggerNetwork(front_end, normalization, stack, nn.Linear(32, 5), tags, [0.5] * 5, {"name": "toy"})


def by_time(kind: str, cell: str = "GRU") -> TaggerNetwork:
    """Return a tagger with the front end of that kind in FRONT_ENDS and random weights."""
    front_end = make_front_end(FRONT_ENDS[kind]())
    return make_tagger(front_end, stack(cell, front_end.path_count))


@pytest.fixture(scope="session")
def music() -> Tensor:
    """26 s of plucked chords over a pulse, with a little noise: [T], 16 kHz, full scale 1."""
    rng = np.random.default_rng(0)
    size, length = 26 * 16000, 3 * 16000  # of the whole and of a note, which has almost faded then
    sound = 0.002 * rng.standard_normal(size)
    for start in range(0, size, 6000):
        t = np.arange(min(length, size - start)) / 16000
        envelope = (1 - np.exp(-t * 200)) * np.exp(-t * rng.uniform(2, 9))
        for _ in range(3):
            pitch = 55.0 * 2 ** (rng.integers(0, 60) / 12)
            partials = [n for n in range(1, 7) if pitch * n < 7500]
            note = 0.08 * envelope * sum(np.sin(2 * np.pi * pitch * n * t) / n**1.5 for n in partials)
            sound[start : start + len(t)] += note
    return torch.tensor(sound, dtype=torch.float32)


@pytest.fixture(scope="session")
def song() -> Tensor:
    """The example song from its strings to its rock: [T], 16 kHz."""
    with open_source(str(Path(__file__).parents[2] / "examples" / "evening_ride.mp3")) as source:
        return torch.from_numpy(np.concatenate(list(source))[23 * 16000 :])
