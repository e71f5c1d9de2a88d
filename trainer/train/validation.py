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

BATCH_CLIPS = 128


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
    network: nn.Module, normalize: Normalizer, loader: FrameLoader, clips: int, early_frames: int, dtype: torch.dtype
) -> tuple[Array, Array]:
    """Return mean probabilities [n, C] of whole clips, and over their first frames.

    A system that reads clips as a whole has one output per clip, which then serves as both.
    """
    whole: dict[int, Array] = {}
    early: dict[int, Array] = {}
    for numbers, features in loader.whole_clips(BATCH_CLIPS):
        x = normalize(features)
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            logits, _ = network(x, network.initial_state(len(x)))  # type: ignore[operator]
        p = torch.sigmoid(logits.float())
        whole.update(zip(numbers, p.mean(1).cpu().numpy(), strict=True))
        early.update(zip(numbers, p[:, :early_frames].mean(1).cpu().numpy(), strict=True))
    return np.stack([whole[i] for i in range(clips)]), np.stack([early[i] for i in range(clips)])
