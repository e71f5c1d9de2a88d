"""Validation: scores of weights on whole clips, each from the initial state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from streamtag.model.normalization import Normalizer
from trainer.data.manifest import Array
from trainer.train.frame_loader import FrameLoader


@contextmanager
def with_weights(network: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """Replace the network's weights and leave training mode inside the block."""
    own = {name: weight.detach().clone() for name, weight in network.state_dict().items()}
    training = network.training
    network.load_state_dict(weights)
    network.eval()
    try:
        yield
    finally:
        network.load_state_dict(own)
        network.train(training)


@torch.no_grad()
def predict(
    network: nn.Module,
    normalize: Normalizer,
    loader: FrameLoader,
    clips: int,
    batch: int,
    early_frames: int,
    dtype: torch.dtype,
    pooling: str = "mean",
) -> tuple[Array, Array]:
    """Return probabilities [n, C] of whole clips, and by their first frames: means, or of the last frame.

    `batch` clips at once, the number that training has memory for: networks of whole clips need 150 MB for one.
    `pooling` is one of POOLINGS; `learned` gives means, too: it would be fitted to these very clips. A system that
    reads clips as a whole has one output per clip, which then serves as both.
    """
    whole: dict[int, Array] = {}
    early: dict[int, Array] = {}
    for numbers, features in loader.whole_clips(batch):
        x = normalize(features)
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            logits, _ = network(x, network.initial_state(len(x)))  # type: ignore[operator]
        p = torch.sigmoid(logits.float())
        for scores, part in ((whole, p), (early, p[:, :early_frames])):
            pooled = part[:, -1] if pooling == "last" else part.mean(1)
            scores.update(zip(numbers, pooled.cpu().numpy(), strict=True))
    return np.stack([whole[i] for i in range(clips)]), np.stack([early[i] for i in range(clips)])
