"""What the machine could do at best, and what a piece of work asks of it: operations and bytes.

Work that needs more operations a byte than the machine has operations for a byte is bound by arithmetic, other work by
memory; no implementation is faster than the roof that follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainer.bench.clock import medians
from trainer.systems import System

SIDE = 2048  # of the matrices that are multiplied
COPIED = 2**26  # numbers that are copied: 256 MiB, more than any cache holds
BACKWARD = 3  # forward and backward together, in forwards: gradients of inputs and of weights cost one each


@dataclass(frozen=True)
class Roof:
    """operations, bytes: a second, of large matrix products and of a copy (read and written)."""

    operations: float
    bytes: float

    @property
    def ridge(self) -> float:
        """Operations a byte from which on arithmetic is the limit."""
        return self.operations / self.bytes

    def seconds(self, operations: float, size: float) -> float:
        """The least that work of this size takes."""
        return max(operations / self.operations, size / self.bytes)


def roof(device: str, precision: torch.dtype) -> Roof:
    """Measured here and now."""
    a = torch.randn(SIDE, SIDE, device=device).to(precision)
    b, out = a.clone(), torch.empty_like(a)
    source = torch.zeros(COPIED, device=device)
    target = torch.empty_like(source)
    product, copy = medians([lambda: torch.mm(a, b, out=out), lambda: target.copy_(source)], repeats=5)
    return Roof(2 * SIDE**3 / product, 2 * source.nbytes / copy)


def operations(system: System, inputs: int, outputs: int, frames: int) -> int:
    """Additions and multiplications of one clip, forward: the products with weights, nothing else."""
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
    """How often a weight is used for a clip: once a frame; a network that reads bands, once a band."""
    if system.family != "transposed":
        return frames
    return 1 if "head" in name else inputs
