"""Front end, cells and network give on every device what they give on the CPU, in one piece and step by step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from streamtag.model import StreamingModule
from tests.device.conftest import TOLERANCE, DeviceTagger, noises
from tests.inference.conftest import HOP

pytestmark = pytest.mark.slow  # on the CPU, tests of model, inference and trainer show the same
STREAMS = 3


def distance(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference relative to the norm, of the stream and path group where it is largest."""
    assert found.shape == expected.shape
    difference = (found.cpu() - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1).clamp_min(1e-12)
    return float(difference.max())


def steps(module: StreamingModule[Any], audio: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return the outputs of steps over pieces of these sizes, and of the end."""
    state, parts = module.initial_state(len(audio)), []
    for piece in torch.split(audio, list(sizes), dim=1):
        y, state = module.step(piece, state)
        parts.append(y)
    y, _ = module.flush(state)
    return torch.cat([*parts, y], dim=1)


@torch.inference_mode()
def test_the_front_end(tagger: DeviceTagger, reference: DeviceTagger) -> None:
    ours, theirs = tagger.network.front_end, reference.network.front_end
    audio = noises(STREAMS, 31 * HOP + 77)
    found, expected = ours(audio.to(tagger.device)), theirs(audio)
    for part in (slice(None), slice(71), slice(71, None)):
        assert distance(found[..., part], expected[..., part]) < TOLERANCE
    assert distance(expected[[1, 2, 0]], expected) > 1e-2, "signals differ, so an exchange would be seen"
    audio, sizes = noises(STREAMS, 9 * HOP), (100, 0, 2 * HOP, HOP - 1, 6 * HOP - 99)
    assert distance(steps(ours, audio.to(tagger.device), sizes), steps(theirs, audio, sizes)) < TOLERANCE


@torch.inference_mode()
def test_the_cells(tagger: DeviceTagger, reference: DeviceTagger) -> None:
    """Large inputs: rounding of products to 10 bits, as TF32 has it, would be seen."""
    ours, theirs = tagger.network.recurrent, reference.network.recurrent
    x = 3 * torch.randn(STREAMS, 40, ours.spec.inputs, generator=torch.Generator().manual_seed(0))
    expected = theirs(x)
    moved = x.to(tagger.device)
    torch.testing.assert_close(ours(moved).cpu(), expected, atol=TOLERANCE, rtol=0)
    state, frames = ours.initial_state(STREAMS), []
    for n in range(x.shape[1]):
        y, state = ours.frame(moved[:, n], state)
        frames.append(y)
    torch.testing.assert_close(torch.stack(frames, dim=1).cpu(), expected, atol=TOLERANCE, rtol=0)
    rounded = theirs((x * 256).round() / 256 * (1 + 2**-10))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(rounded, expected, atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_the_network(tagger: DeviceTagger, reference: DeviceTagger) -> None:
    audio = noises(STREAMS, 25 * HOP + 5)
    expected = reference.network(audio)
    torch.testing.assert_close(tagger.network(audio.to(tagger.device)).cpu(), expected, atol=TOLERANCE, rtol=0)
    assert float((expected[0] - expected[1]).abs().max()) > 1e-2
    audio, sizes = noises(STREAMS, 12 * HOP), (5000, 3 * HOP, 9 * HOP - 5000)
    found, expected = steps(tagger.network, audio.to(tagger.device), sizes), steps(reference.network, audio, sizes)
    torch.testing.assert_close(found.cpu(), expected, atol=TOLERANCE, rtol=0)
