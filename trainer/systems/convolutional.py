"""Convolutions over a whole clip: Table 1 of the paper, and the network of Choi 2016 that it follows.

Four times: 3 x 3 convolution, batch normalisation, ReLU, maximum over a block, dropout. What the last block leaves
is brought to one vector by its maximum, so clips may differ in length. No streaming: the blocks span the clip.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.systems.recurrent import Dropout

Blocks = Sequence[tuple[int, int]]  # (features, frames) of each pooling


class Convolutional(nn.Module):
    """x [N, F, P] -> log-odds [N, 1, C] of the clip. Blocks at the edge may be smaller ("same" padding)."""

    def __init__(self, channels: Sequence[int], blocks: Blocks, outputs: int, dropout: Dropout) -> None:
        super().__init__()
        stages, before = [], 1
        for after, block in zip(channels, blocks, strict=True):
            convolution = nn.Conv2d(before, after, 3, padding=1)
            pool = nn.MaxPool2d(block, ceil_mode=True)
            drop = nn.Dropout(dropout.between)
            stages.append(nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True), pool, drop))
            before = after
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(before, outputs)

    def initial_state(self, streams: int) -> Tensor:
        """Nothing is remembered: [N, 0]."""
        return self.head.weight.new_zeros(streams, 0)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        image = x.transpose(1, 2)[:, None]  # [N, 1, P, F]
        y = self.stages(image).amax(dim=(2, 3))
        with torch.autocast(x.device.type, enabled=False):
            return self.head(y.float())[:, None], memory
