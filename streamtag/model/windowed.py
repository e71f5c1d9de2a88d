"""Networks that read the last 29 s of frames at once, evaluated again and again, as one more kind of frame network.

Here are what they share, and recurrent layers over a spectrogram on its side; `convolutional` has the others. Both
families compute streams of any age in one batch, each as if it were alone.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor, nn

from streamtag.model.lstm import StackedLSTM
from streamtag.model.recurrent import FrameNetwork, FrameStack, StackedGRU, check_precision
from streamtag.model.recurrent_kernel import MAX_STREAMS
from streamtag.model.streaming import State
from streamtag.spec import TransposedSpec, WindowedSpec

MAX_BATCH = MAX_STREAMS  # windows at once


class WindowedNetwork(FrameNetwork[State]):
    """x [N, F, inputs] -> [N, F, hidden]; values are repeated from one evaluation to the next.

    A stream's frames have numbers, from 1 on. When the network is evaluated depends on them alone.
    """

    spec: WindowedSpec

    @abstractmethod
    def step_all(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return what `step` does for x [N, F, inputs], F > 0. Evaluates all streams and waits for no value."""

    def frame(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = self.step_all(x[:, None], state)
        return y[:, 0], state

    def packed(self, precision: str) -> FrameStack[State]:
        """As FrameNetwork has it. Products have single precision in any case. On a GPU it can be captured."""
        check_precision(precision)
        return self if next(self.parameters()).device.type == "cpu" else _Capturable(self)

    def _numbers(self, count: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """Return the numbers of the next frames [N, F] after `count` [N], and whether each has an evaluation [N, F].

        Any count is allowed, such as that of a damaged state.
        """
        spec = self.spec
        numbers = count.clamp(0, self._wrap + spec.stride)[:, None] + torch.arange(1, frames + 1, device=count.device)
        due = (numbers % spec.hop == spec.phase) & ((numbers < spec.stride) | (numbers % spec.stride == spec.phase))
        return numbers, due

    def _count(self, numbers: Tensor) -> Tensor:
        """Return the count [N] after frames with these numbers [N, F]; beyond a window only modulo the stride."""
        count, wrap = numbers[:, -1], self._wrap
        return torch.where(count < wrap, count, wrap + (count - wrap) % self.spec.stride)

    @property
    def _wrap(self) -> int:
        """Return the first multiple of the stride from which on windows are full."""
        return -(-self.spec.frames // self.spec.stride) * self.spec.stride


class _Capturable(Generic[State]):
    def __init__(self, network: WindowedNetwork[State]) -> None:
        self._network = network

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self._network.step_all(x, state)


@dataclass(frozen=True)
class TransposedState:
    """The state of streams.

    recent [N, frames, inputs]: the last frames; those before the stream's first are zeros. count [N]: the frames so
    far; beyond a window only modulo the stride. y [N, hidden]: the last evaluation's.
    """

    recent: Tensor
    count: Tensor
    y: Tensor


class TransposedStack(WindowedNetwork[TransposedState]):
    """Recurrent layers whose steps are bands; y is what they give for the last band."""

    spec: TransposedSpec

    def __init__(self, spec: TransposedSpec) -> None:
        super().__init__(spec)
        self.stack = StackedGRU(spec.recurrent) if spec.cell == "GRU" else StackedLSTM(spec.recurrent)

    def initial_state(self, streams: int) -> TransposedState:
        weight, spec = next(self.parameters()), self.spec
        count = torch.zeros(streams, dtype=torch.int64, device=weight.device)
        recent = weight.new_zeros(streams, spec.frames, spec.inputs)
        return TransposedState(recent, count, weight.new_zeros(streams, spec.hidden))

    def step(self, x: Tensor, state: TransposedState) -> tuple[Tensor, TransposedState]:
        if 0 in x.shape[:2]:
            return x.new_empty(*x.shape[:2], self.spec.hidden), state
        frames, (numbers, due) = torch.cat([state.recent, x], dim=1), self._numbers(state.count, x.shape[1])
        rows, places = due.nonzero(as_tuple=True)  # by row, then by time
        found = self._evaluate(frames, rows, places, numbers, is_captured=False)
        streams, done = torch.arange(len(x), device=x.device)[:, None], due.cumsum(1)
        latest = len(x) + done[:, -1].cumsum(0)[:, None] - done[:, -1:] + done - 1
        y = torch.cat([state.y, found])[torch.where(done > 0, latest, streams)]
        return y, self._after(frames, numbers, y)

    def step_all(self, x: Tensor, state: TransposedState) -> tuple[Tensor, TransposedState]:
        ys = []
        for part in torch.split(x, self.spec.hop, dim=1):  # each has one evaluation of a stream at most
            frames, (numbers, due) = torch.cat([state.recent, part], dim=1), self._numbers(state.count, part.shape[1])
            rows, places = torch.arange(len(x), device=x.device), due.int().argmax(1)
            found = self._evaluate(frames, rows, places, numbers, is_captured=True)
            y = torch.where((due.cumsum(1) > 0)[..., None], found[:, None], state.y[:, None])
            state = self._after(frames, numbers, y)
            ys.append(y)
        return torch.cat(ys, dim=1), state

    def evaluate(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return y [M, hidden] of windows x [M, L, inputs].

        lengths [M]: how many frames each has, after which zeros follow; None: L each.
        """
        y: Tensor = self.stack(averaged(x, self.spec.steps, lengths).transpose(1, 2))
        return y[:, -1]

    def _after(self, frames: Tensor, numbers: Tensor, y: Tensor) -> TransposedState:
        return TransposedState(frames[:, -self.spec.frames :], self._count(numbers), y[:, -1])

    def _evaluate(self, frames: Tensor, rows: Tensor, places: Tensor, numbers: Tensor, is_captured: bool) -> Tensor:
        """Return y [M, hidden] of the windows of streams `rows` [M] that end with frame `places` [M] of the step.

        frames [N, frames + F, inputs]: those of a window before the step, and its own. numbers: theirs [N, F].
        is_captured: no value must be waited for, such as the longest window.
        """
        size, found = self.spec.frames, [frames.new_empty(0, self.spec.hidden)]
        lengths = numbers[rows, places].clamp(max=size)
        starts = places + (size + 1) - lengths
        for n in range(0, len(rows), MAX_BATCH):
            row, start, count = (each[n : n + MAX_BATCH, None] for each in (rows, starts, lengths))
            offsets = torch.arange(size if is_captured else int(count.max()), device=frames.device)
            x = frames[row, (start + offsets).clamp(max=frames.shape[1] - 1)]
            if is_captured or int(count.min()) < len(offsets):
                x = x.masked_fill_((offsets >= count)[..., None], 0.0)
                found.append(self.evaluate(x, count[:, 0]))
            else:
                found.append(self.evaluate(x))
        return torch.cat(found)


def averaged(x: Tensor, steps: int, lengths: Tensor | None = None) -> Tensor:
    """Return the frames x [M, L, P] averaged to `steps` of them, [M, steps, P], as adaptive_avg_pool1d does.

    lengths [M]: how many frames each window has; None: L each. Windows with fewer than `steps` frames repeat some.
    """
    if lengths is None:
        return nn.functional.adaptive_avg_pool1d(x.transpose(1, 2), steps).transpose(1, 2)
    number = torch.arange(steps, device=x.device)
    first = number * lengths[:, None] // steps
    count = -(-(number + 1) * lengths[:, None] // steps) - first  # [M, steps]
    rows = torch.arange(len(x), device=x.device)[:, None]
    total = x.new_zeros(len(x), steps, x.shape[2])
    for n in range(x.shape[1] // steps + 2):
        part = x[rows, (first + n).clamp(max=x.shape[1] - 1)]
        total += torch.where((n < count)[..., None], part, 0.0)
    return total / count[..., None]
