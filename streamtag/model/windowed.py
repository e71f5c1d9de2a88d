"""Networks that read the last 29 s of frames at once, evaluated again and again, as one more kind of frame network.

Both families compute windows of different length in one batch, each as if it were alone.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from streamtag.model.lstm import StackedLSTM
from streamtag.model.recurrent import ROW_MULTIPLE, FrameNetwork, FrameStack, StackedGRU, check_precision
from streamtag.spec import ConvolutionalSpec, TransposedSpec, WindowedSpec

MAX_BATCH = 16  # windows at once: as many streams as HalfWeights takes
MAX_VALUES = 1 << 25  # of a stage of convolutions for a batch of windows
EPSILON = 1e-5  # of batch normalization, as torch has it


@dataclass(frozen=True)
class WindowState:
    """The state of streams.

    recent [N, frames, inputs]: the last frames; those before the stream's first are zeros. count [N]: the frames so
    far; beyond a window only modulo the stride. y [N, hidden]: the last evaluation's.
    """

    recent: Tensor
    count: Tensor
    y: Tensor


class WindowedNetwork(FrameNetwork[WindowState]):
    """x [N, F, inputs] -> [N, F, hidden]; values are repeated from one evaluation to the next."""

    spec: WindowedSpec

    def __init__(self, spec: WindowedSpec, batch: int) -> None:
        """batch: windows that are evaluated at once, which bounds the memory."""
        super().__init__(spec)
        self._batch = batch

    @abstractmethod
    def evaluate(self, x: Tensor, heard: Tensor | None = None) -> Tensor:
        """Return y [M, hidden] of windows x [M, L, inputs].

        heard [M]: how many frames each has, after which zeros follow; None: L each.
        """

    def initial_state(self, streams: int) -> WindowState:
        weight, spec = next(self.parameters()), self.spec
        count = torch.zeros(streams, dtype=torch.int64, device=weight.device)
        recent = weight.new_zeros(streams, spec.frames, spec.inputs)
        return WindowState(recent, count, weight.new_zeros(streams, spec.hidden))

    def step(self, x: Tensor, state: WindowState) -> tuple[Tensor, WindowState]:
        if 0 in x.shape[:2]:
            return x.new_empty(*x.shape[:2], self.spec.hidden), state
        frames, counts, due = self._prepare(x, state)
        rows, places = due.nonzero(as_tuple=True)  # by row, then by time
        found = self._evaluate(frames, rows, places, counts, is_captured=False)
        streams, done = torch.arange(len(x), device=x.device)[:, None], due.cumsum(1)
        latest = len(x) + done[:, -1].cumsum(0)[:, None] - done[:, -1:] + done - 1
        y = torch.cat([state.y, found])[torch.where(done > 0, latest, streams)]
        return y, self._after(frames, counts, y)

    def step_all(self, x: Tensor, state: WindowState) -> tuple[Tensor, WindowState]:
        """Return what `step` does for x [N, F, inputs], F > 0. Evaluates all streams and waits for no value."""
        ys = []
        for part in torch.split(x, self.spec.hop, dim=1):  # each has one evaluation of a stream at most
            frames, counts, due = self._prepare(part, state)
            rows, place = torch.arange(len(x), device=x.device), due.int().argmax(1)
            found = self._evaluate(frames, rows, place, counts, is_captured=True)
            y = torch.where((due.cumsum(1) > 0)[..., None], found[:, None], state.y[:, None])
            state = self._after(frames, counts, y)
            ys.append(y)
        return torch.cat(ys, dim=1), state

    def frame(self, x: Tensor, state: WindowState) -> tuple[Tensor, WindowState]:
        y, state = self.step_all(x[:, None], state)
        return y[:, 0], state

    def packed(self, precision: str, row_multiple: int = ROW_MULTIPLE) -> FrameStack[WindowState]:  # noqa: ARG002
        """As FrameNetwork has it. Products have single precision in any case. On a GPU it can be captured."""
        check_precision(precision)
        return self if next(self.parameters()).device.type == "cpu" else _Capturable(self)

    def _prepare(self, x: Tensor, state: WindowState) -> tuple[Tensor, Tensor, Tensor]:
        """Return the frames [N, frames + F, inputs], and for x's their numbers [N, F], from 1 on, and whether the
        network is evaluated with them [N, F]."""
        spec = self.spec
        counts = state.count.clamp(0, self._wrap + spec.stride)[:, None] + torch.arange(
            1, x.shape[1] + 1, device=x.device
        )
        due = (counts % spec.hop == spec.phase) & ((counts < spec.stride) | (counts % spec.stride == spec.phase))
        return torch.cat([state.recent, x], dim=1), counts, due

    def _after(self, frames: Tensor, counts: Tensor, y: Tensor) -> WindowState:
        count = counts[:, -1]
        count = torch.where(count < self._wrap, count, self._wrap + (count - self._wrap) % self.spec.stride)
        return WindowState(frames[:, -self.spec.frames :], count, y[:, -1])

    @property
    def _wrap(self) -> int:
        """Return the first multiple of the stride from which on windows are full."""
        return -(-self.spec.frames // self.spec.stride) * self.spec.stride

    def _evaluate(self, frames: Tensor, rows: Tensor, places: Tensor, counts: Tensor, is_captured: bool) -> Tensor:
        """Return y [M, hidden] of the windows of streams `rows` [M] that end with frame `places` [M] of the step.

        frames, counts: as _prepare returns them. is_captured: no value must be waited for, such as the longest window.
        """
        size, found = self.spec.frames, [frames.new_empty(0, self.spec.hidden)]
        heard = counts[rows, places].clamp(max=size)
        starts = places + (size + 1) - heard
        for n in range(0, len(rows), self._batch):
            row, start, count = (each[n : n + self._batch, None] for each in (rows, starts, heard))
            offsets = torch.arange(size if is_captured else int(count.max()), device=frames.device)
            x = frames[row, (start + offsets).clamp(max=frames.shape[1] - 1)]
            if is_captured or int(count.min()) < len(offsets):
                x = x.masked_fill_((offsets >= count)[..., None], 0.0)
                found.append(self.evaluate(x, count[:, 0]))
            else:
                found.append(self.evaluate(x))
        return torch.cat(found)


class _Capturable:
    def __init__(self, network: WindowedNetwork) -> None:
        self.step = network.step_all


class ConvolutionStage(nn.Module):
    """x [M, C, P, L] -> [M, channels, P, L]: 3 x 3 convolution, batch normalization with fixed statistics, ReLU."""

    mean: Tensor
    variance: Tensor

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, padding=1)
        self.gain, self.offset = nn.Parameter(torch.ones(after)), nn.Parameter(torch.zeros(after))
        self.register_buffer("mean", torch.zeros(after))
        self.register_buffer("variance", torch.ones(after))

    def forward(self, x: Tensor) -> Tensor:
        constants = self.mean, self.variance, self.gain, self.offset
        return nn.functional.batch_norm(self.convolution(x), *constants, eps=EPSILON).relu_()


class StackedConvolutions(WindowedNetwork):
    """Stages of convolutions; y are the maxima of the last one's channels.

    What lies beyond the end of a window is zero before every convolution, as its padding is, and changes no maximum:
    there is nothing below zero.
    """

    spec: ConvolutionalSpec

    def __init__(self, spec: ConvolutionalSpec) -> None:
        super().__init__(spec, max(1, min(MAX_BATCH, MAX_VALUES // max(map(prod, spec.images)))))
        sizes = zip((1, *spec.channels), spec.channels, strict=False)
        self.stages = nn.ModuleList(ConvolutionStage(before, after) for before, after in sizes)

    def evaluate(self, x: Tensor, heard: Tensor | None = None) -> Tensor:
        image = x.transpose(1, 2)[:, None]  # [M, 1, P, L]
        for stage, block in zip(self.stages, self.spec.blocks, strict=True):
            image = stage(image)
            if heard is not None:
                beyond = torch.arange(image.shape[-1], device=x.device) >= heard[:, None]
                image = image.masked_fill_(beyond[:, None, None], 0.0)
                heard = (heard + block[1] - 1) // block[1]
            image = nn.functional.max_pool2d(image, block, ceil_mode=True)
        return image.amax(dim=(2, 3))


class TransposedStack(WindowedNetwork):
    """Recurrent layers whose steps are bands; y is what they give for the last band."""

    spec: TransposedSpec

    def __init__(self, spec: TransposedSpec) -> None:
        super().__init__(spec, MAX_BATCH)
        self.stack = StackedGRU(spec.recurrent) if spec.cell == "GRU" else StackedLSTM(spec.recurrent)

    def evaluate(self, x: Tensor, heard: Tensor | None = None) -> Tensor:
        y: Tensor = self.stack(averaged(x, self.spec.steps, heard).transpose(1, 2))
        return y[:, -1]


def averaged(x: Tensor, steps: int, heard: Tensor | None = None) -> Tensor:
    """Return the frames x [M, L, P] averaged to `steps` of them, [M, steps, P], as adaptive_avg_pool1d does.

    heard [M]: how many frames each window has; None: L each. Windows with fewer than `steps` frames repeat some.
    """
    if heard is None:
        return nn.functional.adaptive_avg_pool1d(x.transpose(1, 2), steps).transpose(1, 2)
    number = torch.arange(steps, device=x.device)
    first = number * heard[:, None] // steps
    count = -(-(number + 1) * heard[:, None] // steps) - first  # [M, steps]
    rows = torch.arange(len(x), device=x.device)[:, None]
    total = x.new_zeros(len(x), steps, x.shape[2])
    for n in range(x.shape[1] // steps + 2):
        part = x[rows, (first + n).clamp(max=x.shape[1] - 1)]
        total += torch.where((n < count)[..., None], part, 0.0)
    return total / count[..., None]
