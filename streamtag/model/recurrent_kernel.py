"""Stacks of recurrent layers in compiled code, with weights that are read in half precision.

One stream reads all recurrent weights from memory for every frame, which takes most of the time. The model file holds
them in half precision, so reading them so halves the traffic and changes no weight: sums stay in single precision, and
results differ by rounding only (1e-6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamtag.model.half_weights import PackedCache, is_half

if TYPE_CHECKING:
    from streamtag.model._recurrent import Layer

try:
    from streamtag.model._recurrent import run as run_layers
    from streamtag.model._recurrent import supported
except ImportError:  # built without a compiler: PyTorch computes the same
    SUPPORTED = False
else:
    SUPPORTED = supported()

GRU_RESET_AFTER, GRU_RESET_BEFORE, LSTM, NORMALIZED_LSTM = range(4)  # kinds, see _recurrent.c
LANES = 8  # gates, and inputs, that are multiplied at once
MAX_STREAMS = 16  # with more streams arithmetic takes the time, not memory
MIN_FRAMES = 64  # packing takes as long as it saves in so many frames of one stream
NOTHING = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class RecurrentKernel:
    """Layers of one kind with copies of their weights: x [N, F, inputs] and a state -> y [N, F, hidden], new state."""

    kind: int
    layers: tuple[Layer, ...]
    hidden: int

    @classmethod
    def build(
        cls, kind: int, layers: Sequence[Sequence[Tensor]], normalizations: Sequence[Tensor] | None = None
    ) -> RecurrentKernel | None:
        """Return None if half precision would change a weight, or this installation or CPU has no such code.

        layers: w_ih, w_hh, b_ih, b_hh of each as PyTorch has them. normalizations: of an LSTM's layers by
        age, [ages, 14 hidden]: gains of W x and of U h, offsets of the gates, gain and offset of the cell.
        """
        if not SUPPORTED or not all(_is_usable(w_ih) and _is_usable(w_hh) for w_ih, w_hh, *_ in layers):
            return None
        hidden = layers[0][1].shape[1]
        rows = [NOTHING] * len(layers) if normalizations is None else [_padded(n, hidden, 1) for n in normalizations]
        packed = tuple(
            (_pack(w_ih, hidden), _pack(w_hh, hidden), _padded(b_ih, hidden), _padded(b_hh, hidden), norm)
            for (w_ih, w_hh, b_ih, b_hh), norm in zip(layers, rows, strict=True)
        )
        return cls(kind, packed, hidden)

    def step(self, x: Tensor, state: Tensor, ages: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y and the new state [N, layers, hidden], or [N, layers, 2, hidden] of LSTMs. ages [N]: of streams."""
        streams, frames, inputs = x.shape
        y, state = x.new_empty(streams, frames, self.hidden), state.clone(memory_format=torch.contiguous_format)
        numbers = NOTHING if ages is None else ages.int().numpy()
        sizes = streams, frames, inputs, self.hidden
        run_layers(self.kind, self.layers, x.contiguous().numpy(), state.numpy(), numbers, y.numpy(), sizes)
        return y, state


class KernelCache(PackedCache[RecurrentKernel]):
    """The kernel of layers, which is built after `min_frames` frames, so that short sounds do not wait for it."""

    def __init__(self, min_frames: int = MIN_FRAMES) -> None:
        super().__init__()
        self._frames_left = min_frames

    def find(self, layers: nn.Module, x: Tensor, build: Callable[[], RecurrentKernel | None]) -> RecurrentKernel | None:
        """Return the kernel for x [N, F, inputs], or None where PyTorch has to do without.

        That is so for many streams, where gradients are needed, on other devices, and for the first frames.
        """
        if not SUPPORTED or x.shape[0] > MAX_STREAMS or torch.is_grad_enabled():
            return None
        if not x.is_cpu or x.dtype != torch.float32:  # the compiled code reads float32
            return None
        if self._frames_left > 0:
            self._frames_left -= x.shape[1]
            return None
        return self.get(layers.parameters(), build)


def _is_usable(weight: Tensor) -> bool:
    return weight.is_cpu and weight.dtype == torch.float32 and is_half(weight)


def _pack(weight: Tensor, hidden: int) -> npt.NDArray[np.float16]:
    """Return a weight [gates, inputs] in blocks of 8 gates and 8 inputs, padded with zeros: in the order of reading."""
    gates, inputs = len(weight) // hidden, weight.shape[1]
    parts = weight.detach().view(gates, hidden, inputs)
    padded = nn.functional.pad(parts, (0, -inputs % LANES, 0, -hidden % LANES)).half()
    blocks = padded.view(-1, LANES, padded.shape[-1] // LANES, LANES).transpose(1, 2)
    return np.asarray(blocks.contiguous().numpy())


def _padded(values: Tensor, hidden: int, lead: int = 0) -> npt.NDArray[np.float32]:
    """Return values [..., parts * hidden], of which `lead` axes come first, with each part padded with zeros."""
    parts = values.detach().view(*values.shape[:lead], -1, hidden)
    return np.asarray(nn.functional.pad(parts, (0, -hidden % LANES)).contiguous().numpy())
