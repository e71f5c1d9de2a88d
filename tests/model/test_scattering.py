"""The scattering transform compared with kymatio's, and its mathematical properties."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from streamtag.errors import SpecError
from streamtag.model import Scattering, ScatteringSpec
from streamtag.model.filterbank import FilterBank
from streamtag.model.layout import BandLengths, Layout, lengths_in_points
from streamtag.model.scattering import OFFLINE_HIGH, ONLINE_HIGH

HOP = 4096
T = 100 * HOP
SHORT_T = 24 * HOP  # for kymatio, which is slow; its padding then is a whole number of its own hops
INSIDE = slice(6, -6)  # frames more than 1.5 s from either end


def noise() -> Tensor:
    return torch.randn(T, generator=torch.Generator().manual_seed(1)) * 0.1


def clicks() -> Tensor:
    x = torch.zeros(T)
    x[torch.randint(T, (40,), generator=torch.Generator().manual_seed(2))] = 1.0
    return x


def chirp() -> Tensor:
    t = torch.arange(T) / 16000
    return 0.5 * torch.sin(2 * math.pi * (30 * t + 7000 / (T / 16000) / 2 * t**2))


SIGNALS = ("noise", "clicks", "chirp", "plucks", "song")


@pytest.fixture(scope="module")
def signals(music: Tensor, song: Tensor) -> Tensor:
    return torch.stack([noise(), clicks(), chirp(), music[:T], song[:T]])


@pytest.fixture(scope="module")
def short(signals: Tensor) -> Tensor:
    return signals[:, :SHORT_T].contiguous()


@pytest.fixture(scope="module")
def kymatio(short: Tensor, need: Callable[[str, bool, str], None]) -> tuple[Tensor, Tensor]:
    """kymatio's transform of the short signals at every 4th of its outputs [N, F, P], gain corrected; orders [P]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            peer: Any = importlib.import_module("kymatio.torch")
        except ImportError as error:
            need("kymatio", False, f"needs kymatio.torch, which needs SciPy before 1.17: {error}")
        theirs = peer.Scattering1D(J=10, shape=SHORT_T, Q=8, T=1024)
        meta = theirs.meta()
        gain = 2.0 ** np.nan_to_num(meta["j"]).sum(axis=1)
        frames = theirs(short)[..., ::4].transpose(1, 2) * torch.tensor(gain, dtype=torch.float32)
    return frames, torch.tensor(meta["order"])


@pytest.fixture(scope="module")
def offline(scattering: Scattering, signals: Tensor) -> Tensor:
    return scattering.forward(signals)


@pytest.fixture(scope="module")
def short_offline(scattering: Scattering, short: Tensor) -> Tensor:
    return scattering.forward(short)


def transform_online(scattering: Scattering, signals: Tensor) -> Tensor:
    frames, state = scattering.step(signals, scattering.initial_state(len(signals)))
    return torch.cat([frames, scattering.flush(state)[0]], dim=1)


@pytest.fixture(scope="module")
def online(scattering: Scattering, signals: Tensor) -> Tensor:
    return transform_online(scattering, signals)


@pytest.fixture(scope="module")
def short_online(scattering: Scattering, short: Tensor) -> Tensor:
    return transform_online(scattering, short)


def relative(a: Tensor, b: Tensor, paths: Tensor) -> Tensor:
    """Norm of the difference over norm, per signal [N], over the frames away from the ends."""
    a, b = a[:, INSIDE, paths].flatten(1), b[:, INSIDE, paths].flatten(1)
    error: Tensor = torch.linalg.vector_norm(a - b, dim=1) / torch.linalg.vector_norm(b, dim=1)
    return error


@pytest.mark.parametrize(("order", "tolerance"), [(0, 1e-4), (1, 1e-3), (2, 2e-3)])
def test_the_offline_transform_equals_kymatio(
    short_offline: Tensor, kymatio: tuple[Tensor, Tensor], order: int, tolerance: float
) -> None:
    theirs, orders = kymatio
    assert short_offline.shape == theirs.shape
    assert (relative(short_offline, theirs, orders == order) < tolerance).all()


@pytest.mark.parametrize(("order", "tolerance"), [(0, 2e-3), (1, 3e-3), (2, 4e-3)])
def test_the_online_transform_equals_kymatio_up_to_the_look_ahead(
    short_online: Tensor, kymatio: tuple[Tensor, Tensor], order: int, tolerance: float
) -> None:
    theirs, orders = kymatio
    assert (relative(short_online, theirs, orders == order) < tolerance).all()


def test_a_shifted_frame_grid_does_not_equal_kymatio(short_offline: Tensor, kymatio: tuple[Tensor, Tensor]) -> None:
    """The negative control: a quarter of a hop, which is one of kymatio's own, is far outside the tolerance."""
    theirs, orders = kymatio
    moved = torch.roll(theirs, 1, dims=1)
    assert (relative(short_offline, moved, orders == 1) > 1e-2).any()


@pytest.mark.parametrize(("order", "tolerance"), [(0, 1e-3), (1, 1.5e-3), (2, 4e-3)])
def test_online_equals_offline(online: Tensor, offline: Tensor, order: int, tolerance: float) -> None:
    """Without clicks: a single click at a frame's edge is all that this frame contains."""
    orders = torch.tensor([0] + [1] * 70 + [2] * 303)
    rows = [n for n, name in enumerate(SIGNALS) if name != "clicks"]
    assert (relative(online[rows], offline[rows], orders == order) < tolerance).all()


def test_online_equals_offline_on_every_path(online: Tensor, offline: Tensor) -> None:
    """On every path that holds at least 1e-4 of the signal's norm."""
    rows = [n for n, name in enumerate(SIGNALS) if name != "clicks"]
    size = offline[rows][:, INSIDE].norm(dim=1)
    error = (online - offline)[rows][:, INSIDE].norm(dim=1) / size
    audible = size > 1e-4 * size.norm(dim=1, keepdim=True)
    assert float(audible.float().mean()) > 0.9
    assert float(error[audible].max()) < 0.05


@pytest.mark.parametrize("pick", [lambda frames, _: frames, lambda _, stream: stream])
def test_unit_gain_in_every_octave(scattering: Scattering, pick: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Sinusoids of amplitude 1 at the bands' centres give the same S1 in every octave."""
    bank = FilterBank.build(scattering.spec)
    octaves = [8 * n for n in range(6)]
    t = torch.arange(12 * HOP)
    tones = torch.stack([torch.sin(2 * math.pi * bank.first[n].xi * t) for n in octaves])
    frames, _ = scattering.step(tones, scattering.initial_state(len(octaves)))
    frames = pick(scattering(tones)[:, : frames.shape[1]], frames)
    S1 = torch.stack([frames[row, 6, 1 + n] for row, n in enumerate(octaves)])
    assert float(S1.max() / S1.min()) < 1.02
    assert float(S1.mean()) > 0.3


def test_a_signal_is_surrounded_by_silence(scattering: Scattering, offline: Tensor, signals: Tensor) -> None:
    """Zeros before the first and after the last sample change nothing."""
    padded = torch.nn.functional.pad(signals, (8 * HOP, 8 * HOP))
    inner = scattering(padded)[:, 8 : 8 + offline.shape[1]]
    assert float((inner - offline).norm() / offline.norm()) < 1e-5
    mirrored = torch.cat([signals.flip(1)[:, -8 * HOP :], signals, signals.flip(1)[:, : 8 * HOP]], dim=1)
    other = scattering(mirrored)[:, 8 : 8 + offline.shape[1]]
    assert float((other - offline)[:, 0].norm() / offline[:, 0].norm()) > 1e-2, "other surroundings matter"


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (HOP, 1), (HOP + 1, 2), (3 * HOP - 1, 3)])
def test_the_number_of_frames(scattering: Scattering, samples: int, frames: int) -> None:
    x = torch.ones(2, samples)
    assert scattering(x).shape == (2, frames, 374)
    y, state = scattering.step(x, scattering.initial_state(2))
    assert y.shape[1] + scattering.flush(state)[0].shape[1] == frames


def test_a_frame_is_emitted_as_soon_as_its_look_ahead_has_arrived(scattering: Scattering) -> None:
    y, state = scattering.step(torch.randn(1, 6143), scattering.initial_state(1))
    assert y.shape[1] == 0
    y, _ = scattering.step(torch.randn(1, 1), state)
    assert y.shape[1] == 1
    assert scattering.latency_s == 0.384


def test_the_transform_is_linear_in_the_amplitude(scattering: Scattering, offline: Tensor, signals: Tensor) -> None:
    assert float((scattering(signals * 0.01) / 0.01 - offline).norm() / offline.norm()) < 1e-5


@pytest.mark.parametrize("lengths", [ONLINE_HIGH, OFFLINE_HIGH])
def test_the_ends_of_a_hop_fall_on_points_of_every_length(scattering: Scattering, lengths: BandLengths) -> None:
    layout = Layout(scattering.spec, FilterBank.build(scattering.spec))
    for size in chain(*lengths_in_points(layout.block, lengths)):
        assert layout.margin * size % layout.block == 0


@pytest.mark.parametrize("change", [{"hop": 1000}, {"T": 512}, {"J": 0}, {"Q": -8}, {"lookahead": 4096}, {"J": True}])
def test_settings_that_do_not_fit_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(SpecError, match="ScatteringSpec"):
        ScatteringSpec(**change)
