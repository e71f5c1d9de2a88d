"""Spectrograms fed to a recurrent network on their side, as the paper's counts of parameters imply.

A step is a band, from low to high, and its inputs are all frames of the clip in that band. Nothing streams: the last
band's output is the clip's.
"""

from __future__ import annotations

from torch import Tensor, nn

from trainer.systems.recurrent import Recurrent


class Transposed(nn.Module):
    """x [N, F, P] -> log-odds [N, 1, C]; the F frames are averaged to `frames`, the network's input size."""

    def __init__(self, network: Recurrent, frames: int) -> None:
        super().__init__()
        self.network, self.frames = network, frames

    @property
    def head(self) -> nn.Linear:
        return self.network.head

    def initial_state(self, streams: int) -> Tensor:
        """Nothing is remembered: [N, 0]."""
        return self.head.weight.new_zeros(streams, 0)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        bands = nn.functional.adaptive_avg_pool1d(x.transpose(1, 2), self.frames)  # [N, P, frames]
        logits, _ = self.network(bands, self.network.initial_state(len(x)))
        return logits[:, -1:], memory
