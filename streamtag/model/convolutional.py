"""Stages of convolutions over the last 29 s of frames, evaluated again and again; most of it is computed only once.

A convolution reads its neighbours, and a maximum its block, so nearly all of what the first stages give is final. They
read a stream from its beginning; their final columns are kept for as long as a window is. An evaluation computes the
columns at the stream's end, after which zeros follow, and the other stages from the columns of the window. For streams
of up to a window this is the network over all that has been heard. Later the window begins with a column, of 160 mel
or 18 scattering frames, so it is that much shorter at most; and the first columns of a window were computed with the
frames before them, where a clip has zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from streamtag.model.half_weights import HalfLinear, PackedCache, half_linear
from streamtag.model.windowed import MAX_BATCH, WindowedNetwork
from streamtag.spec import ConvolutionalSpec

MAX_PLACES = 1024  # of a batch of images, for which a product in half precision takes less time than a convolution
MAX_VALUES = 1 << 25  # of a stage for a batch of windows
EPSILON = 1e-5  # of batch normalization, as torch has it


@dataclass(frozen=True)
class ConvolutionState:
    """The state of streams.

    recent [N, tail, inputs]: the last frames. columns [N, channels, features, K]: the last final columns, the newest
    last. kept [N]: how many of them there are. pending [N]: the frames after them. count [N]: the frames so far; beyond
    a window only modulo the stride. y [N, hidden]: the last evaluation's.
    """

    recent: Tensor
    columns: Tensor
    kept: Tensor
    pending: Tensor
    count: Tensor
    y: Tensor


class ConvolutionStage(nn.Module):
    """x [M, C, P, L] -> [M, channels, P, L]: 3 x 3 convolution, batch normalization with fixed statistics, ReLU."""

    mean: Tensor
    variance: Tensor

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, padding=1)
        self._half = PackedCache[HalfLinear]()
        self.gain, self.offset = nn.Parameter(torch.ones(after)), nn.Parameter(torch.zeros(after))
        self.register_buffer("mean", torch.zeros(after))
        self.register_buffer("variance", torch.ones(after))

    def forward(self, x: Tensor) -> Tensor:
        constants = self.mean, self.variance, self.gain, self.offset
        return nn.functional.batch_norm(self._convolved(x), *constants, eps=EPSILON).relu_()

    def _convolved(self, x: Tensor) -> Tensor:
        """Return the convolution. For few places most of its time is taken by reading the weights."""
        count, _, features, frames = x.shape
        if count * features * frames > MAX_PLACES or not (half := self._half_product()):
            return self.convolution(x)  # type: ignore[no-any-return]
        patches = nn.functional.unfold(x, 3, padding=1).transpose(1, 2)  # [M, P L, 9 C]
        y = half(patches.flatten(0, 1).contiguous())
        return y.view(count, features * frames, -1).transpose(1, 2).reshape(count, -1, features, frames)

    def _half_product(self) -> HalfLinear | None:
        """Return the product with the weight as a matrix, or None where gradients are needed or half precision will
        not do."""
        weight, bias = self.convolution.weight.flatten(1).detach(), self.convolution.bias
        if bias is None or not weight.is_cpu or weight.dtype != torch.float32 or torch.is_grad_enabled():
            return None
        return self._half.get((weight, bias), lambda: half_linear(weight, bias.detach()))


class StackedConvolutions(WindowedNetwork[ConvolutionState]):
    """y are the maxima of the last stage's channels.

    What lies outside a stream or window is zero before every convolution, as its padding is, and changes no maximum:
    there is nothing below zero.
    """

    spec: ConvolutionalSpec

    def __init__(self, spec: ConvolutionalSpec) -> None:
        super().__init__(spec)
        self._batch = max(1, min(MAX_BATCH, MAX_VALUES // (max(map(prod, spec.images)) * spec.tail // spec.frames + 1)))
        sizes = zip((1, *spec.channels), spec.channels, strict=False)
        self.stages = nn.ModuleList(ConvolutionStage(before, after) for before, after in sizes)

    def initial_state(self, streams: int) -> ConvolutionState:
        weight, spec = next(self.parameters()), self.spec
        count = torch.zeros(streams, dtype=torch.int64, device=weight.device)
        columns = weight.new_zeros(streams, *spec.column, spec.columns)
        recent, y = weight.new_zeros(streams, spec.tail, spec.inputs), weight.new_zeros(streams, spec.hidden)
        return ConvolutionState(recent, columns, count, count.clone(), count.clone(), y)

    def step(self, x: Tensor, state: ConvolutionState) -> tuple[Tensor, ConvolutionState]:
        if 0 in x.shape[:2]:
            return x.new_empty(*x.shape[:2], self.spec.hidden), state
        return self._hops(x, state, is_captured=False)

    def step_all(self, x: Tensor, state: ConvolutionState) -> tuple[Tensor, ConvolutionState]:
        return self._hops(x, state, is_captured=True)

    def _hops(self, x: Tensor, state: ConvolutionState, is_captured: bool) -> tuple[Tensor, ConvolutionState]:
        ys = []
        for part in torch.split(x, self.spec.hop, dim=1):  # each has one evaluation of a stream at most
            y, state = self._hop(part, state, is_captured)
            ys.append(y)
        return torch.cat(ys, dim=1), state

    def _hop(self, x: Tensor, state: ConvolutionState, is_captured: bool) -> tuple[Tensor, ConvolutionState]:
        spec, frames = self.spec, torch.cat([state.recent, x], dim=1)
        numbers, due = self._numbers(state.count, x.shape[1])
        is_due, places = due.any(1), due.int().argmax(1)
        rows = torch.arange(len(x), device=x.device) if is_captured else is_due.nonzero()[:, 0]
        kept, before = state.kept.clamp(0, spec.columns), state.pending.clamp(0, spec.tail - spec.context)
        pending = (before + places + 1).clamp(max=spec.tail - spec.context)  # at the evaluation
        new = [
            self._evaluate(frames, part, places[part], pending[part], kept[part], state.columns[part], is_captured)
            for part in torch.split(rows, self._batch)
            if len(part)
        ]
        columns, added, found = state.columns, torch.zeros_like(kept), state.y
        if new:
            new_columns, new_added, new_y = (torch.cat(part) for part in zip(*new, strict=True))
            if is_captured:
                columns = torch.where(is_due[:, None, None, None], new_columns, columns)
                added, found = torch.where(is_due, new_added, added), new_y
            else:
                columns, found = columns.index_copy(0, rows, new_columns), found.index_copy(0, rows, new_y)
                added = added.index_copy(0, rows, new_added)
        y = torch.where((due.cumsum(1) > 0)[..., None], found[:, None], state.y[:, None])
        kept, pending = (kept + added).clamp(max=spec.columns), before + x.shape[1] - added * spec.grid
        recent = frames[:, -spec.tail :]
        return y, ConvolutionState(recent, columns, kept, pending, self._count(numbers), y[:, -1])

    def _evaluate(
        self,
        frames: Tensor,
        rows: Tensor,
        places: Tensor,
        pending: Tensor,
        kept: Tensor,
        columns: Tensor,
        is_captured: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the columns [M, channels, features, K], how many of them are new [M], and y [M, hidden].

        Streams `rows` [M] are evaluated with frame `places` [M] of the step, which is their `pending`-th after the last
        of the columns that are kept. frames [N, tail + F, inputs]: those before the step, and its own. is_captured: no
        value must be waited for, such as the largest number of frames.
        """
        spec = self.spec
        low = torch.where(kept > 0, 0, spec.context)  # before it there is no stream
        high = spec.context + pending
        offsets = torch.arange(spec.tail if is_captured else int(high.max()), device=frames.device)
        index = (spec.tail + 1 + places - high)[:, None] + offsets
        x = frames[rows[:, None], index.clamp(0, frames.shape[1] - 1)]
        image = _within(x.transpose(1, 2)[:, None], low, high)
        for number, (stage, block) in enumerate(zip(self.stages, spec.blocks, strict=False), 1):
            image = _within(stage(image), low, high)
            if number == spec.carried:  # what precedes the pending frames was context
                skipped = spec.context * block[1] // spec.grid
                image, low, high = image[..., skipped:], low - low, high - skipped
            image = nn.functional.max_pool2d(image, block, ceil_mode=True)
            low, high = low // block[1], _blocks(high, block[1])
            if number == spec.carried:
                added = ((pending - spec.reach) // spec.grid).clamp(min=0)
                image = torch.cat([columns, image], dim=3)
                columns = _gather(image, added, spec.columns)
                old = torch.minimum(kept, (spec.frames - pending) // spec.grid)  # in the window
                high = high + old
                longest = image.shape[3] if is_captured else int(high.max())
                image = _within(_gather(image, spec.columns - old, longest), low, high)
        return columns, added, image.amax(dim=(2, 3))


def _blocks(frames: Tensor, width: int) -> Tensor:
    """Return how many blocks of that width hold so many frames [M]."""
    return (frames + (width - 1)) // width


def _within(image: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Set what lies outside the columns from low [M] to high [M] of an image [M, C, P, L] to zero."""
    column = torch.arange(image.shape[3], device=image.device)
    outside = (column < low[:, None]) | (column >= high[:, None])
    return image.masked_fill(outside[:, None, None], 0.0)


def _gather(image: Tensor, first: Tensor, count: int) -> Tensor:
    """Return `count` columns from column first [M] on of an image [M, C, P, L]; its last one stands for later ones."""
    index = (first[:, None] + torch.arange(count, device=image.device)).clamp(max=image.shape[3] - 1)
    return image.gather(3, index[:, None, None].expand(*image.shape[:3], count))
