"""Networks that read frame after frame: over a whole sequence, or with weights packed for fast products on a CPU.

Here are what all of them share and the stacked GRU; `lstm` and `windowed` have the others.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol

import torch
from torch import Tensor, nn

from streamtag.errors import SpecError
from streamtag.model.half_weights import half_linear
from streamtag.model.recurrent_kernel import (
    GRU_RESET_AFTER,
    GRU_RESET_BEFORE,
    MAX_STREAMS,
    KernelCache,
    RecurrentKernel,
)
from streamtag.model.streaming import State, leaves
from streamtag.spec import NetworkSpec, StackSpec

PRECISIONS = ("float32", "bfloat16")
ROW_MULTIPLE = 8  # of products by oneDNN, which builds and keeps a kernel for every N: sizes 1 to 64 took 77 MB

Product = Callable[[Tensor], Tensor]
CellStep = Callable[[Tensor, Tensor], Tensor]  # W x + b [N, 3 hidden], which it may change, and h [N, hidden] -> next h


class FrameStack(Protocol[State]):
    """x [N, F, inputs], state -> y [N, F, hidden], new state, for a few frames F > 0."""

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]: ...


class FrameNetwork(nn.Module, Generic[State]):
    """x [N, F, inputs] -> [N, F, hidden].

    Recurrent layers compute many frames layer by layer, so each layer's input weights are read once for all of them.
    """

    def __init__(self, spec: StackSpec) -> None:
        super().__init__()
        self.spec = spec

    @abstractmethod
    def initial_state(self, streams: int) -> State: ...

    @abstractmethod
    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return y [N, F, hidden] for x [N, F, inputs] with any F >= 0, and the new state."""

    @abstractmethod
    def frame(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return y [N, hidden] for one frame x [N, inputs], and the new state. Can be captured in a CUDA graph."""

    def _by_frame(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return what `step` does for x [N, F, inputs], F > 0, frame by frame."""
        frames = []
        for n in range(x.shape[1]):
            y, state = self.frame(x[:, n], state)
            frames.append(y)
        return torch.stack(frames, dim=1), state

    @abstractmethod
    def packed(self, precision: str) -> FrameStack[State]:
        """Return the fastest equivalent of `step` for one frame with products of that precision.

        Copies the current weights. Raises SpecError for an unknown precision.
        """

    def flush(self, state: State) -> tuple[Tensor, State]:
        """Return no frames, y [N, 0, hidden], and the state before the first frame."""
        first = next(iter(leaves(state).values()))
        return first.new_empty(len(first), 0, self.spec.hidden), self.initial_state(len(first))

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x, self.initial_state(x.shape[0]))[0]


class StackedGRU(FrameNetwork[Tensor]):
    """The state is [N, layers, hidden]."""

    spec: NetworkSpec

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        self.gru = nn.GRU(spec.inputs, spec.hidden, spec.layers, batch_first=True)
        self._kernels = KernelCache()

    def initial_state(self, streams: int) -> Tensor:
        weight = next(self.gru.parameters())
        return weight.new_zeros(streams, self.spec.layers, self.spec.hidden)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if 0 in x.shape[:2]:
            return x.new_empty(*x.shape[:2], self.spec.hidden), state
        if kernel := self._kernels.find(self.gru, x, self._kernel):
            return kernel.step(x, state)
        if not self.spec.reset_after:
            return _gru_frames(self._layers(linear), x, state)
        if x.is_cuda:  # cuDNN's GRU rounds to TF32 unless a setting of the whole process forbids it: errors of 1e-3
            return self._by_frame(x, state)
        hidden = state.transpose(0, 1).contiguous()
        y, hidden = self.gru(x, hidden)
        return y, hidden.transpose(0, 1).contiguous()

    def frame(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As FrameNetwork has it. Single cells have full single precision on every device, unlike cuDNN's GRU."""
        if not self.spec.reset_after:
            y, state = _gru_frames(self._layers(linear), x[:, None], state)
            return y[:, 0], state
        hidden = []
        for layer, weights in enumerate(self.gru.all_weights):
            x = torch.gru_cell(x, state[:, layer], *weights)
            hidden.append(x)
        return x, torch.stack(hidden, dim=1)

    def packed(self, precision: str) -> FrameStack[Tensor]:
        product = packed_product(precision, next(self.parameters()).device)
        return self if product is None else _PackedGRU(self._layers(product), self._kernel(precision))

    def _kernel(self, precision: str = "float32") -> RecurrentKernel | None:
        kind = GRU_RESET_AFTER if self.spec.reset_after else GRU_RESET_BEFORE
        return RecurrentKernel.build(kind, self.gru.all_weights) if precision == "float32" else None

    def _layers(self, product: Callable[[Tensor, Tensor], Product]) -> list[tuple[Product, CellStep]]:
        """Return the product of the input and the cell of each layer."""
        layers: list[tuple[Product, CellStep]] = []
        for w_ih, w_hh, b_ih, b_hh in self.gru.all_weights:
            if self.spec.reset_after:
                cell: CellStep = partial(_reset_after, product(w_hh, b_hh))
            else:
                gates = 2 * self.spec.hidden
                parts = product(w_hh[:gates], b_hh[:gates]), product(w_hh[gates:], b_hh[gates:])
                cell = partial(_reset_before, *parts)
            layers.append((product(w_ih, b_ih), cell))
        return layers


def packed_product(precision: str, device: torch.device) -> Callable[[Tensor, Tensor], Product] | None:
    """Return the fastest packed product of that precision on the device, or None if there is none.

    Raises SpecError for an unknown precision.
    """
    check_precision(precision)
    if precision == "bfloat16":
        return BFloat16Linear
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return _cpu_product if device.type == "cpu" and has_onednn else None


def _cpu_product(weight: Tensor, bias: Tensor) -> Product:
    """Return the product with weights read in half precision: a seventh of oneDNN's time for 1 row, 2/3 for 256.

    Where that would change a weight, or on another CPU, it is oneDNN's.
    """
    return half_linear(weight, bias) or OneDnnLinear(weight, bias)


def check_precision(precision: str) -> None:
    """Raise SpecError for an unknown precision."""
    if precision not in PRECISIONS:
        raise SpecError(f"precision is {' or '.join(PRECISIONS)}, not {precision}")


class PackedLinear(Protocol):
    """x [N, inputs] -> W x + b [N, outputs] in float32."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None: ...

    def __call__(self, x: Tensor) -> Tensor: ...


class OneDnnLinear(PackedLinear):
    """x [N, inputs] -> W x + b [N, outputs] in float32 by oneDNN: on some CPUs 1.7 times as fast as MKL."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight.float().to_mkldnn(), bias.float().to_mkldnn()

    def __call__(self, x: Tensor) -> Tensor:
        rows = padded(x, ROW_MULTIPLE).contiguous().to_mkldnn()
        return nn.functional.linear(rows, self._weight, self._bias).to_dense()[: len(x)]


class BFloat16Linear(PackedLinear):
    """x [N, inputs] -> W x + b [N, outputs], multiplied in bfloat16: half the memory traffic.

    Takes half the time on CPUs with units for it (avx512_bf16, amx_bf16), two to four times as long on others.
    A product is summed in float32, then rounded. The order of summation depends on the batch size, so batches equal
    single streams less closely than in float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight.bfloat16(), bias.float()

    def __call__(self, x: Tensor) -> Tensor:
        rows = padded(x, ROW_MULTIPLE).bfloat16()
        return nn.functional.linear(rows, self._weight)[: len(x)].float().add_(self._bias)


class _PackedGRU:
    """A GRU by any kind of product. State, gates and biases are float32, so that small changes of the state remain."""

    def __init__(self, layers: Sequence[tuple[Product, CellStep]], kernel: RecurrentKernel | None) -> None:
        self._layers, self._kernel = layers, kernel

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if self._kernel and len(x) <= MAX_STREAMS:
            return self._kernel.step(x, state)
        return _gru_frames(self._layers, x, state)


def _gru_frames(layers: Sequence[tuple[Product, CellStep]], x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return y [N, F, hidden] for x [N, F, inputs], F > 0, and the new state [N, layers, hidden]."""
    hidden = []
    for (input_product, cell), previous in zip(layers, state.unbind(1), strict=True):
        outputs = []
        for new in of_all_frames(input_product, x):
            previous = cell(new, previous)
            outputs.append(previous)
        x = torch.stack(outputs, dim=1)
        hidden.append(previous)
    return x, torch.stack(hidden, dim=1)


def _reset_after(product: Product, new: Tensor, previous: Tensor) -> Tensor:
    hidden, old = previous.shape[-1], product(previous)
    gates = new[:, : 2 * hidden].add_(old[:, : 2 * hidden]).sigmoid_()  # reset, update
    candidate = new[:, 2 * hidden :].addcmul_(gates[:, :hidden], old[:, 2 * hidden :]).tanh_()
    return torch.lerp(candidate, previous, gates[:, hidden:])


def _reset_before(gate_product: Product, candidate_product: Product, new: Tensor, previous: Tensor) -> Tensor:
    hidden = previous.shape[-1]
    gates = new[:, : 2 * hidden].add(gate_product(previous)).sigmoid()
    candidate = new[:, 2 * hidden :].add(candidate_product(gates[:, :hidden] * previous)).tanh()
    return torch.lerp(candidate, previous, gates[:, hidden:])


def linear(weight: Tensor, bias: Tensor | None = None) -> Product:
    """Return the product x [N, inputs] -> W x + b [N, outputs] by torch itself."""
    return partial(nn.functional.linear, weight=weight, bias=bias)


def of_all_frames(product: Product, x: Tensor) -> tuple[Tensor, ...]:
    """Return W x + b [N, outputs] of each frame of x [N, F, inputs]; the weights are read once for all of them."""
    return product(x.flatten(0, 1)).view(*x.shape[:2], -1).unbind(1)


def padded(rows: Tensor, multiple: int) -> Tensor:
    """Return the rows [N, ...] with rows of zeros up to a multiple."""
    padding = -len(rows) % multiple
    return torch.cat([rows, rows.new_zeros(padding, *rows.shape[1:])]) if padding else rows
