"""Networks that read whole clips. As a model file they read the last 29 s of a stream (`streamtag.model.windowed`).

`Convolutional` is Table 1 of the paper, and the network of Choi 2016 that it follows. Four times: 3 x 3 convolution,
batch normalization, ReLU, maximum over a block, dropout. The maximum of the last block's output is one vector, so clips
may differ in length.

`Transposed` feeds a spectrogram to a recurrent network on its side, as the paper's parameter counts imply: a step is a
band, from low to high, and its inputs are all frames of the clip in that band. The last band's output is the clip's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.systems.recurrent import Dropout, Recurrent

Blocks = Sequence[tuple[int, int]]  # (features, frames) of each pooling


class Convolutional(nn.Module):
    """x [N, F, P] -> log-odds [N, 1, C]. Blocks at the edge may be smaller ("same" padding)."""

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
        """Return an empty state [N, 0]."""
        return self.head.weight.new_zeros(streams, 0)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        image = x.transpose(1, 2)[:, None]  # [N, 1, P, F]
        y = self.stages(image).amax(dim=(2, 3))
        with torch.autocast(x.device.type, enabled=False):
            return self.head(y.float())[:, None], state


class Transposed(nn.Module):
    """x [N, F, P] -> log-odds [N, 1, C]; the F frames are averaged to `frames`, the input size of the network."""

    def __init__(self, network: Recurrent, frames: int) -> None:
        super().__init__()
        self.network, self.frames = network, frames

    @property
    def head(self) -> nn.Linear:
        return self.network.head

    def initial_state(self, streams: int) -> Tensor:
        """Return an empty state [N, 0]."""
        return self.head.weight.new_zeros(streams, 0)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        bands = nn.functional.adaptive_avg_pool1d(x.transpose(1, 2), self.frames)  # [N, P, frames]
        logits, _ = self.network(bands, self.network.initial_state(len(x)))
        return logits[:, -1:], state
