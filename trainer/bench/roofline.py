"""The roofline model: the peak rates of the machine, and the operations and bytes of a training step.

Work with more operations per byte than the machine's ratio is bound by arithmetic, other work by memory. No
implementation is faster than the resulting roof.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainer.bench.measure import medians
from trainer.systems import System

MATRIX_SIDE = 2048
COPIED_FLOATS = 2**26  # 256 MiB, more than any cache
TRAINING_FACTOR = 3  # forward and backward in forwards: the gradients of inputs and of weights cost one each


@dataclass(frozen=True)
class Roof:
    """Operations per second of large matrix products, and bytes per second of a copy (read and written)."""

    operations: float
    bytes: float

    @property
    def ridge(self) -> float:
        """Return the operations per byte from which on arithmetic is the limit."""
        return self.operations / self.bytes

    def seconds(self, operations: float, size: float) -> float:
        """Return the minimum time of a work of this size."""
        return max(operations / self.operations, size / self.bytes)


def roof(device: str, precision: torch.dtype, side: int = MATRIX_SIDE, copied: int = COPIED_FLOATS) -> Roof:
    """Measure the peak rates of this machine."""
    a = torch.randn(side, side, device=device).to(precision)
    b, out = a.clone(), torch.empty_like(a)
    source = torch.zeros(copied, device=device)
    target = torch.empty_like(source)
    product, copy = medians([lambda: torch.mm(a, b, out=out), lambda: target.copy_(source)], repeats=5)
    return Roof(2 * side**3 / product, 2 * source.nbytes / copy)


def operations(system: System, inputs: int, outputs: int, frames: int) -> int:
    """Return the additions and multiplications of one clip, forward, of the products with weights."""
    if system.family == "convolutional":
        network = system.build(inputs, outputs).eval()
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, frames, inputs), network.initial_state(1))  # type: ignore[operator]
        return int(counter.get_total_flops())
    with torch.device("meta"):
        network = system.build(inputs, outputs)
    return sum(2 * _steps(system, name, inputs, frames) * weight.numel() for name, weight in _matrices(network))


def _matrices(network: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [(name, weight) for name, weight in network.named_parameters() if weight.dim() == 2]


def _steps(system: System, name: str, inputs: int, frames: int) -> int:
    """Return how often a weight is used per clip: once per frame, or per band by a network that reads bands."""
    if system.family != "transposed":
        return frames
    return 1 if "head" in name else inputs
