"""Networks that read a window again and again: when they do, what they read, and in which batches."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from streamtag.model.convolutional import ConvolutionStage, StackedConvolutions
from streamtag.model.streaming import leaves, tree_map
from streamtag.model.windowed import TransposedStack, WindowedNetwork, averaged
from tests.model.conftest import WINDOWED, stack

STRIDE = 4  # frames from one evaluation to the next


def network(kind: str, inputs: int = 374) -> WindowedNetwork[Any]:
    found = stack(kind, inputs)
    assert isinstance(found, WindowedNetwork)
    return found


def last_window(of: WindowedNetwork[Any], x: Tensor, end: int) -> Tensor:
    """Return y [N, hidden] after `end` frames of x [N, F, inputs], without any state."""
    start = max(0, end - of.spec.frames)
    if isinstance(of, TransposedStack):
        return of.evaluate(x[:, start:end])
    assert isinstance(of, StackedConvolutions)
    image = x[:, :end].transpose(1, 2)[:, None]
    for number, (stage, block) in enumerate(zip(of.stages, of.spec.blocks, strict=True), 1):
        image = nn.functional.max_pool2d(stage(image), block, ceil_mode=True)
        if number == of.spec.carried:
            image = image[..., -(-start // of.spec.grid) :]
    return image.amax(dim=(2, 3))


@pytest.mark.parametrize("kind", WINDOWED)
def test_each_frame_has_the_latest_evaluation(kind: str) -> None:
    """With every frame for a stride, then once a stride, over what there is of a window."""
    of, x = network(kind), torch.randn(2, 75, 374)
    y = of(x)
    for frame in (*range(12), *range(12, 75, 7)):
        end = frame + 1
        end = end if end < STRIDE else end // STRIDE * STRIDE
        torch.testing.assert_close(y[:, frame], last_window(of, x, end), atol=1e-5, rtol=0)
    assert (y[:, 70] - y[:, 74]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", WINDOWED)
def test_hops_of_several_frames_are_evaluated_with_their_last(kind: str) -> None:
    of = network(kind, 40)
    x = torch.randn(1, 300, 40)
    y = of(x)
    for hop, end in ((0, 8), (1, 24), (2, 40), (3, 56), (4, 72), (5, 72), (7, 72), (8, 136), (15, 200)):
        torch.testing.assert_close(y[:, 16 * hop + 7], last_window(of, x, end), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", WINDOWED)
def test_streams_of_any_age_are_evaluated_together(kind: str) -> None:
    """As they are for a GPU, all of them in one batch, and only those that are due."""
    of, x = network(kind), torch.randn(3, 40, 374)
    states = [of.step(x[n : n + 1, :frames], of.initial_state(1))[1] for n, frames in enumerate((0, 6, 29))]
    state = tree_map(lambda *rows: torch.cat(rows), *states)
    other = state
    for new in (x[:, 29:30], x[:, 30:34], x[:, 34:40]):
        y, state = of.step(new, state)
        all_y, other = of.step_all(new, other)
        torch.testing.assert_close(all_y, y, atol=1e-5, rtol=0)
    for a, b in zip(leaves(state).values(), leaves(other).values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    assert state.count.tolist() == [11, 12 + 17 % STRIDE, 12 + 40 % STRIDE]
    for n, first in enumerate((29, 23, 0)):
        heard = torch.cat([x[n : n + 1, : 29 - first], x[n : n + 1, 29:]], dim=1)
        torch.testing.assert_close(y[n : n + 1, -1], of(heard)[:, -1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("number", [-5, 10**12])
@pytest.mark.parametrize("kind", WINDOWED[:3])
def test_numbers_that_cannot_be_are_harmless(kind: str, number: int) -> None:
    of = network(kind)
    state = tree_map(lambda leaf: leaf if leaf.is_floating_point() else leaf + number, of.initial_state(2))
    for step in (of.step, of.step_all):
        y, after = step(torch.randn(2, 9, 374), state)
        assert y.isfinite().all()
        assert all(0 <= int(leaf.max()) < 50 for leaf in leaves(after).values() if not leaf.is_floating_point())


@pytest.mark.parametrize("frames", [1, 3, 7, 8, 20, 33])
def test_frames_are_averaged_as_torch_averages_them(frames: int) -> None:
    x = torch.randn(2, 40, 5)
    found = averaged(x, 7, torch.tensor([frames, 40]))
    torch.testing.assert_close(found[0], averaged(x[:1, :frames], 7)[0])
    torch.testing.assert_close(found[1], averaged(x[1:], 7)[0])


@pytest.mark.parametrize(("streams", "frames"), [(1, 40), (3, 1), (9, 40)])
def test_a_convolution_with_weights_in_half_precision_is_the_same(streams: int, frames: int) -> None:
    """For few places as a product, for many as torch has it; also in a copy, and after a change of the weights."""
    torch.manual_seed(0)
    stage = ConvolutionStage(5, 7).requires_grad_(False)
    stage.convolution.weight.copy_(stage.convolution.weight.half().float())
    x = torch.randn(streams, 5, 11, frames)
    for each in (stage, pickle.loads(pickle.dumps(stage))):
        for factor in (1.0, 2.0):
            each.convolution.weight.mul_(factor)
            expected = each(x)  # gradients may be needed here
            with torch.inference_mode():
                torch.testing.assert_close(each(x), expected, atol=1e-5, rtol=0)
    assert float((stage(x) - expected).abs().max()) < 1e-5, "both were changed alike"
