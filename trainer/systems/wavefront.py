"""All layers of a stacked GRU at once, on a GPU.

Frame t of layer l needs frame t - 1 of its own layer and frame t of the layer below. So wave w computes frame w - l of
every layer l: L + F - 1 waves instead of L F steps, each of them one batched product and one cell function for all
layers (Appleyard et al. 2016, "Optimizing Performance of Recurrent Neural Networks on GPUs"). The waves are captured
once as a CUDA graph, since launching them takes longer than computing them.

A wave multiplies its inputs, the outputs of the layers below and the states before, [L, N, 2H], by one matrix for each
layer, [2H, 4H]. The products are those of the reset gate r, the update gate z, the candidate n, and the candidate's
recurrent part q, which the reset gate multiplies. Gradients need no more products than outputs: what they are
multiplied by is known going forward (see `gru`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from streamtag.model.cuda_graphs import CudaGraphs, GraphCapture
from trainer.systems.gru import GRULayer
from trainer.systems.recurrent import Dropout, Recurrent, RecurrentState, kept_mask, product_dtype


class Buffers:
    """The memory of the waves of L layers, N streams, F frames and W = L + F - 1 waves.

    Products, and what is multiplied in them, have the dtype `kind`; gates, states and gradients of states are float32
    (the weights' own dtype). Entries of a layer in waves in which it has no frame stay zero.
    """

    def __init__(self, weight: Tensor, layers: int, streams: int, frames: int, kind: torch.dtype) -> None:
        """weight: the first layer's, of its input, [3H, I]."""
        inputs, hidden = weight.shape[1], weight.shape[0] // 3
        self.layers, self.frames, self.waves, self.hidden = layers, frames, layers + frames - 1, hidden

        def zeros(*size: int, kind: torch.dtype = weight.dtype) -> Tensor:
            return torch.zeros(*size, device=weight.device, dtype=kind)

        self.x = zeros(frames * streams, inputs, kind=kind)
        self.first = zeros(frames * streams, 3 * hidden, kind=kind)  # the first layer's products with x: r, z, n
        self.kept = zeros(layers, streams, hidden)  # factors of each layer's input; the first layer's are not used
        self.weight, self.bias = zeros(layers, 2 * hidden, 4 * hidden, kind=kind), zeros(layers, 4 * hidden)
        # wave w reads what is at w, and writes outputs to w + 1
        self.inputs = zeros(layers, self.waves + 1, streams, 2 * hidden, kind=kind)  # of the layer below; the state
        self.states = zeros(layers, self.waves + 1, streams, hidden)
        self.first_states = zeros(layers, streams, hidden)
        self.product = zeros(layers, streams, 4 * hidden, kind=kind)
        # what the gradient of an output is multiplied by, then the gradients of r, z, n and q before their functions
        self.gates = zeros(layers, self.waves, streams, 4 * hidden, kind=kind)
        self.zeta = zeros(layers, self.waves, streams, hidden, kind=kind)  # 1 - z: near 1, z would be rounded too much
        self.output_gradient = zeros(frames, streams, hidden)
        self.gradient = zeros(layers, streams, hidden)  # of the outputs of one wave
        self.product_back = zeros(layers, streams, 2 * hidden, kind=kind)

    def active(self, wave: int) -> slice:
        """Return the layers that have a frame in a wave; none after the last one."""
        return slice(max(0, wave - self.frames + 1), min(self.layers, wave + 1))


class Cells(Protocol):
    """What a wave computes beside its product."""

    def forward(self, b: Buffers, wave: int) -> None:
        """Compute states and the next wave's inputs from `product`, and what gradients will be multiplied by."""

    def backward(self, b: Buffers, wave: int) -> None:
        """Compute gradients of the outputs and of the gates from the next wave's and from `product_back`."""


class TorchCells(Cells):
    """In PyTorch's own operations: for every device."""

    def forward(self, b: Buffers, wave: int) -> None:
        layers, h = b.active(wave), b.hidden
        gates = b.product[: layers.stop - layers.start] + b.bias[layers, None]
        if layers.start == 0:
            gates[0, :, : 3 * h] += b.first.view(b.frames, -1, 3 * h)[wave]
        r, z, n, q = gates.chunk(4, dim=-1)
        r, z, before = r.sigmoid(), z.sigmoid(), b.states[layers, wave]
        n = (n + r * q).tanh()
        after = torch.lerp(n, before, z)
        b.states[layers, wave + 1] = after
        b.inputs[layers, wave + 1, :, h:] = after.to(b.inputs.dtype)
        above = slice(layers.start + 1, min(layers.stop + 1, b.layers))
        b.inputs[above, wave + 1, :, :h] = (after[: above.stop - above.start] * b.kept[above]).to(b.inputs.dtype)
        change = (1 - z) * (1 - n * n)
        factors = torch.cat([change * r * q * (1 - r), (before - n) * z * (1 - z), change, change * r], dim=-1)
        b.gates[layers, wave], b.zeta[layers, wave] = factors.to(b.gates.dtype), (1 - z).to(b.zeta.dtype)

    def backward(self, b: Buffers, wave: int) -> None:
        layers, later, h = b.active(wave), b.active(wave + 1), b.hidden
        gradient = torch.zeros_like(b.gradient)
        if wave + 1 < b.waves:
            back = b.product_back[: later.stop - later.start]
            gradient[later] = b.gradient[later] * (1 - b.zeta[later, wave + 1]) + back[..., h:]
            below = slice(max(0, later.start - 1), later.stop - 1)
            from_above = back[below.start + 1 - later.start :, :, :h]
            gradient[below] += from_above * b.kept[below.start + 1 : below.stop + 1]
        if layers.stop == b.layers:
            gradient[-1] += b.output_gradient[wave - b.layers + 1]
        b.gradient.copy_(gradient)
        gates = b.gates[layers, wave]
        gates.view(*gates.shape[:2], 4, h).mul_(gradient[layers].unsqueeze(2))


class Wavefront:
    """Outputs and gradients of stacked GRU layers for N streams of F frames. Owns all memory that the waves need.

    The layers' weights are read where they are at each call. A backward pass belongs to the forward pass before it.
    """

    def __init__(
        self, layers: Sequence[nn.GRU], shape: tuple[int, int], kind: torch.dtype, cells: Cells, capture: GraphCapture
    ) -> None:
        """shape: streams and frames. kind: of the products."""
        self._grus, self._shape, self._kind, self._cells, self._passes = tuple(layers), shape, kind, cells, 0
        self.weights = self._current_weights()
        # one after the other, so that one copy has all
        self._all_gradients = self.weights[0].new_zeros(sum(weight.numel() for weight in self.weights))
        self._gradients = _pieces(self._all_gradients, self.weights)
        self._buffers = Buffers(self.weights[0], len(layers), *shape, kind)
        with torch.no_grad(), _exact_products():
            self._run_forward, self._run_backward = capture.capture(self._forward), capture.capture(self._backward)

    def fits(self, shape: tuple[int, int], kind: torch.dtype) -> bool:
        """Return whether it is for this shape and dtype, and the weights are still where they were."""
        pairs = zip(self.weights, self._current_weights(), strict=True)
        return (self._shape, self._kind) == (shape, kind) and all(a.data_ptr() == b.data_ptr() for a, b in pairs)

    @torch.no_grad()
    def forward(self, x: Tensor, states: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, int]:
        """Return y [N, F, H], the last states [N, L, H] and the number of the pass, for x [N, F, I].

        states: the first ones, [N, L, H]. kept: factors of each layer's input, held over time, [L, N, H]; the first
        layer's are not used.
        """
        b = self._buffers
        b.x.view(b.frames, -1, x.shape[-1]).copy_(x.transpose(0, 1))
        b.kept.copy_(kept)
        b.first_states.copy_(states.transpose(0, 1))
        self._run_forward()
        self._passes += 1
        last = b.states.flatten(0, 1)[b.frames :: b.waves + 2]  # of layer l, at F + l
        return b.states[-1, b.layers :].transpose(0, 1).clone(), last.transpose(0, 1).clone(), self._passes

    @torch.no_grad()
    def backward(self, gradient: Tensor, number: int) -> list[Tensor]:
        """Return the gradients of the weights for that of y [N, F, H] of a pass.

        Raises RuntimeError if another pass has overwritten what it needs.
        """
        if number != self._passes:
            raise RuntimeError("another forward pass has overwritten what this backward pass needs")
        self._passes += 1  # what it needs is gone after it, too
        self._buffers.output_gradient.copy_(gradient.transpose(0, 1))
        self._run_backward()
        return _pieces(self._all_gradients.clone(), self.weights)

    def _current_weights(self) -> list[Tensor]:
        return [weight for gru in self._grus for weight in gru.all_weights[0]]

    def _forward(self) -> None:
        # products with `out` have its dtype, under autocast too
        self._copy_weights()
        b = self._buffers
        torch.mm(b.x, self.weights[0].to(b.x.dtype).t(), out=b.first)
        for layer, first in enumerate(b.first_states):
            b.states[layer, layer].copy_(first)
            b.inputs[layer, layer, :, b.hidden :].copy_(first)
        for wave in range(b.waves):
            layers = b.active(wave)
            torch.bmm(b.inputs[layers, wave], b.weight[layers], out=b.product[: layers.stop - layers.start])
            self._cells.forward(b, wave)

    def _copy_weights(self) -> None:
        b, h = self._buffers, self._buffers.hidden
        for layer, (weight, bias) in enumerate(zip(b.weight, b.bias, strict=True)):
            w_ih, w_hh, b_ih, b_hh = self.weights[4 * layer : 4 * layer + 4]
            if layer:
                weight[:h, : 3 * h].copy_(w_ih.t())
            weight[h:, : 2 * h].copy_(w_hh[: 2 * h].t())
            weight[h:, 3 * h :].copy_(w_hh[2 * h :].t())
            bias[: 3 * h].copy_(b_ih)
            bias[: 2 * h].add_(b_hh[: 2 * h])
            bias[3 * h :].copy_(b_hh[2 * h :])

    def _backward(self) -> None:
        b, h = self._buffers, self._buffers.hidden
        for wave in reversed(range(b.waves)):
            self._cells.backward(b, wave)
            layers = b.active(wave)
            weights = b.weight[layers].transpose(1, 2)
            torch.bmm(b.gates[layers, wave], weights, out=b.product_back[: layers.stop - layers.start])
        gates = b.gates.flatten(1, 2)
        weights = torch.bmm(b.inputs[:, :-1].flatten(1, 2).transpose(1, 2), gates)
        biases = gates.sum(1, dtype=b.bias.dtype)
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            w_ih, w_hh, b_ih, b_hh = self._gradients[4 * layer : 4 * layer + 4]
            if layer:
                w_ih.copy_(weight[:h, : 3 * h].t())
            else:
                w_ih.copy_(torch.mm(b.gates[0, : b.frames, :, : 3 * h].flatten(0, 1).t(), b.x))
            w_hh[: 2 * h].copy_(weight[h:, : 2 * h].t())
            w_hh[2 * h :].copy_(weight[h:, 3 * h :].t())
            b_ih.copy_(bias[: 3 * h])
            b_hh[: 2 * h].copy_(bias[: 2 * h])
            b_hh[2 * h :].copy_(bias[3 * h :])


def _pieces(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return successive parts of a tensor [n] in the shapes of others."""
    pieces, start = [], 0
    for tensor in like:
        pieces.append(flat[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()
    return pieces


class _WavefrontFunction(torch.autograd.Function):
    """What Wavefront.forward does, but for the number. Only the weights get gradients."""

    @staticmethod
    def forward(
        ctx: Any, waves: Wavefront, x: Tensor, states: Tensor, kept: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        assert len(weights) == len(waves.weights)
        ctx.waves = waves
        y, last, ctx.number = waves.forward(x, states, kept)
        ctx.mark_non_differentiable(last)
        return y, last

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, None, *ctx.waves.backward(grad_y, ctx.number)


_apply: Callable[..., tuple[Tensor, Tensor]] = _WavefrontFunction.apply


class GRUStack(Recurrent):
    """Stacked GRU layers, all of which a GPU computes at once while they are trained.

    `capture`: how that work is captured; None: as CUDA graphs on a GPU, while a CPU computes layer by layer.
    """

    def __init__(self, layers: Sequence[GRULayer], cells: int, hidden: int, outputs: int, dropout: Dropout) -> None:
        super().__init__(layers, cells, hidden, outputs, dropout)
        self.capture: GraphCapture | None = None
        self._grus = [layer.gru for layer in layers]
        self._reset_after = all(layer.reset_after for layer in layers)
        self._waves: Wavefront | None = None

    def run_layers(self, x: Tensor, state: RecurrentState, dropout: Dropout) -> tuple[Tensor, Tensor]:
        is_trained = self.training and torch.is_grad_enabled() and not x.requires_grad
        is_captured = is_trained and self._reset_after and not dropout.recurrent and (x.is_cuda or self.capture)
        if not is_captured:
            return super().run_layers(x, state, dropout)
        shape, kind = (x.shape[0], x.shape[1]), product_dtype(x)
        if self._waves is None or not self._waves.fits(shape, kind):
            self._waves = None  # its memory is needed
            self._waves = Wavefront(self._grus, shape, kind, make_cells(x.device), self.capture or CudaGraphs(x.device))
        kept = kept_mask((len(self._grus), len(x), self.hidden), dropout.between, x.device)
        y, last = _apply(self._waves, x, state.cells[:, :, 0], kept, *self._waves.weights)
        return y, last[:, :, None]


def make_cells(device: torch.device) -> Cells:
    """Return the fastest cells for a device.

    Triton comes with torch where that was built for GPUs, needs compute capability 8.0, and compiles a little C.
    """
    has_compiler = "CC" in os.environ or any(shutil.which(name) for name in ("gcc", "clang", "cc"))
    if device.type != "cuda" or find_spec("triton") is None or not has_compiler:
        return TorchCells()
    if torch.cuda.get_device_capability(device) < (8, 0):
        return TorchCells()
    from trainer.systems.triton_cells import TritonCells

    return TritonCells()


@contextmanager
def _exact_products() -> Iterator[None]:
    """Let no product of float32 matrices be rounded to TF32 inside the block."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
