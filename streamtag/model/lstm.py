"""Stacks of LSTM layers, plain ones and ones with batch normalization inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from streamtag.model.recurrent import (
    FrameNetwork,
    FrameStack,
    Product,
    linear,
    of_all_frames,
    packed_product,
)
from streamtag.model.recurrent_kernel import LSTM, MAX_STREAMS, NORMALIZED_LSTM, KernelCache, RecurrentKernel
from streamtag.spec import NetworkSpec

STEPS = 114  # frames since a stream began that have statistics of their own: those of a clip in the paper


class StackedLSTM(FrameNetwork[Tensor]):
    """The state is [N, layers, 2, hidden]: each layer's output and cell."""

    spec: NetworkSpec

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        self.lstm = nn.LSTM(spec.inputs, spec.hidden, spec.layers, batch_first=True)
        self._kernels = KernelCache()

    def initial_state(self, streams: int) -> Tensor:
        return next(self.parameters()).new_zeros(streams, self.spec.layers, 2, self.spec.hidden)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if 0 in x.shape[:2]:
            return x.new_empty(*x.shape[:2], self.spec.hidden), state
        if x.is_cuda:  # as in StackedGRU
            return self._by_frame(x, state)
        if kernel := self._kernels.find(self.lstm, x, self._kernel):
            return kernel.step(x, state)
        hidden, cell = state.permute(2, 1, 0, 3).contiguous()
        y, (hidden, cell) = self.lstm(x, (hidden, cell))
        return y, torch.stack([hidden, cell]).permute(2, 1, 0, 3).contiguous()

    def frame(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = _lstm_frames(self._products(linear), x[:, None], state)
        return y[:, 0], state

    def packed(self, precision: str) -> FrameStack[Tensor]:
        product = packed_product(precision, next(self.parameters()).device)
        return self if product is None else _PackedLSTM(self._products(product), self._kernel(precision))

    def _kernel(self, precision: str = "float32") -> RecurrentKernel | None:
        return RecurrentKernel.build(LSTM, self.lstm.all_weights) if precision == "float32" else None

    def _products(self, product: Callable[[Tensor, Tensor], Product]) -> list[tuple[Product, Product]]:
        return [(product(w_ih, b_ih), product(w_hh, b_hh)) for w_ih, w_hh, b_ih, b_hh in self.lstm.all_weights]


class _PackedLSTM:
    def __init__(self, products: Sequence[tuple[Product, Product]], kernel: RecurrentKernel | None) -> None:
        self._products, self._kernel = products, kernel

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if self._kernel and len(x) <= MAX_STREAMS:
            return self._kernel.step(x, state)
        return _lstm_frames(self._products, x, state)


def _lstm_frames(layers: Sequence[tuple[Product, Product]], x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return y [N, F, hidden] for x [N, F, inputs] and the new state [N, layers, 2, hidden]."""
    cells = []
    for (input_product, state_product), (hidden, cell) in zip(layers, state.permute(1, 2, 0, 3), strict=True):
        outputs = []
        for new in of_all_frames(input_product, x):
            i, f, g, o = new.add(state_product(hidden)).chunk(4, dim=-1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
            outputs.append(hidden)
        x = torch.stack(outputs, dim=1)
        cells.append(torch.stack([hidden, cell], dim=1))
    return x, torch.stack(cells, dim=1)


@dataclass(frozen=True)
class BNLSTMState:
    """cells [N, layers, 2, hidden]: each layer's output and cell. age [N]: frames since the stream began, at most
    STEPS - 1."""

    cells: Tensor
    age: Tensor


class BNLSTMLayer(nn.Module):
    """The weights of a layer, and its normalizations as gains and offsets by the age of the stream.

    gates = gain_x (W x) + gain_h (U h') + offset,  c = f c' + i g,  h = o tanh(gain_c c + offset_c)

    This is the layer of Cooijmans et al. 2016, "Recurrent batch normalization", with the statistics of the training
    set. They are separate for the first STEPS frames; the last ones serve for all later frames.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden, inputs))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden, hidden))
        self.gain_x, self.gain_h, self.offset = (nn.Parameter(torch.empty(STEPS, 4 * hidden)) for _ in range(3))
        self.gain_c, self.offset_c = (nn.Parameter(torch.empty(STEPS, hidden)) for _ in range(2))

    def normalization(self) -> Tensor:
        """Return all gains and offsets by age [STEPS, 14 hidden], as RecurrentKernel expects them."""
        return torch.cat([self.gain_x, self.gain_h, self.offset, self.gain_c, self.offset_c], dim=1)


class StackedBNLSTM(FrameNetwork[BNLSTMState]):
    """LSTM layers with batch normalization, x [N, F, inputs] -> [N, F, hidden]."""

    spec: NetworkSpec

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        sizes = [spec.inputs, *[spec.hidden] * (spec.layers - 1)]
        self.layers: list[BNLSTMLayer]
        self.layers = nn.ModuleList(BNLSTMLayer(size, spec.hidden) for size in sizes)  # type: ignore[assignment]
        self._kernels = KernelCache()

    def initial_state(self, streams: int) -> BNLSTMState:
        weight = next(self.parameters())
        cells = weight.new_zeros(streams, self.spec.layers, 2, self.spec.hidden)
        return BNLSTMState(cells, torch.zeros(streams, dtype=torch.int64, device=weight.device))

    def step(self, x: Tensor, state: BNLSTMState) -> tuple[Tensor, BNLSTMState]:
        if 0 in x.shape[:2]:
            return x.new_empty(*x.shape[:2], self.spec.hidden), state
        if kernel := self._kernels.find(self, x, self._kernel):
            return _kernel_step(kernel, x, state)
        return self._frames(x, state, [(linear(each.weight_ih), linear(each.weight_hh)) for each in self.layers])

    def frame(self, x: Tensor, state: BNLSTMState) -> tuple[Tensor, BNLSTMState]:
        y, state = self.step(x[:, None], state)
        return y[:, 0], state

    def packed(self, precision: str) -> FrameStack[BNLSTMState]:
        product = packed_product(precision, next(self.parameters()).device)
        return self if product is None else _PackedBNLSTM(self, product, self._kernel(precision))

    def _kernel(self, precision: str = "float32") -> RecurrentKernel | None:
        if precision != "float32":
            return None
        none = self.layers[0].offset.new_zeros(4 * self.spec.hidden)
        weights = [(each.weight_ih, each.weight_hh, none, none) for each in self.layers]
        return RecurrentKernel.build(NORMALIZED_LSTM, weights, [each.normalization() for each in self.layers])

    def _frames(
        self, x: Tensor, state: BNLSTMState, products: Sequence[tuple[Product, Product]]
    ) -> tuple[Tensor, BNLSTMState]:
        frames, cells = x.shape[1], []
        ages = _valid(_valid(state.age) + torch.arange(frames, device=x.device)[:, None])  # [F, N]
        layers = zip(self.layers, products, state.cells.permute(1, 2, 0, 3), strict=True)
        for layer, (input_product, state_product), (hidden, cell) in layers:
            outputs = []
            for new, age in zip(of_all_frames(input_product, x), ages, strict=True):
                scaled = new * layer.gain_x[age] + layer.offset[age]
                hidden, cell = _normalized_cell(layer, scaled, state_product(hidden), cell, age)
                outputs.append(hidden)
            x = torch.stack(outputs, dim=1)
            cells.append(torch.stack([hidden, cell], dim=1))
        return x, BNLSTMState(torch.stack(cells, dim=1), _valid(_valid(state.age) + frames))


class _PackedBNLSTM:
    def __init__(
        self, stack: StackedBNLSTM, product: Callable[[Tensor, Tensor], Product], kernel: RecurrentKernel | None
    ) -> None:
        self._stack, self._kernel = stack, kernel

        def without_bias(weight: Tensor) -> Product:
            return product(weight, weight.new_zeros(len(weight)))

        self._products = [(without_bias(each.weight_ih), without_bias(each.weight_hh)) for each in stack.layers]

    def step(self, x: Tensor, state: BNLSTMState) -> tuple[Tensor, BNLSTMState]:
        if self._kernel and len(x) <= MAX_STREAMS:
            return _kernel_step(self._kernel, x, state)
        return self._stack._frames(x, state, self._products)


def _kernel_step(kernel: RecurrentKernel, x: Tensor, state: BNLSTMState) -> tuple[Tensor, BNLSTMState]:
    age = _valid(state.age)
    y, cells = kernel.step(x, state.cells, age)
    return y, BNLSTMState(cells, _valid(age + x.shape[1]))


def _valid(age: Tensor) -> Tensor:
    """Return ages for which there are statistics, also for those of a damaged state."""
    return age.clamp(0, STEPS - 1)


def _normalized_cell(layer: BNLSTMLayer, new: Tensor, old: Tensor, cell: Tensor, age: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output and the cell [N, hidden]; new: the input's part of the gates, old: U h', both [N, 4 hidden]."""
    i, f, g, o = (new + old * layer.gain_h[age]).chunk(4, dim=-1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * torch.tanh(cell * layer.gain_c[age] + layer.offset_c[age]), cell
