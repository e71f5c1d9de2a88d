"""What weights are worth: scores on whole clips, each heard from silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from trainer.data.manifest import Array
from trainer.evaluate import metrics
from trainer.evaluate.metrics import Scores
from trainer.features.normalization import Normalizer
from trainer.train.dataset import Frames

SOON_S = 3.0
AT_ONCE = 128  # clips


@contextmanager
def with_weights(network: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """The network has these weights meanwhile, and does not train."""
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
    network: nn.Module, normalize: Normalizer, frames: Frames, clips: int, hop_s: float, kind: torch.dtype
) -> tuple[Array, Array]:
    """Mean probabilities [n, C] of whole clips, and of what is said until 3 s of them were heard.

    What hears clips as a whole has said nothing by then: its second answer is the first.
    """
    whole: dict[int, Array] = {}
    soon: dict[int, Array] = {}
    early = max(1, round(SOON_S / hop_s))
    for numbers, features in frames.clips(AT_ONCE):
        x = normalize(features)
        with torch.autocast(x.device.type, kind, enabled=kind != torch.float32):
            logits, _ = network(x, network.initial_state(len(x)))  # type: ignore[operator]
        probabilities = torch.sigmoid(logits.float())
        means, early_means = probabilities.mean(1).cpu().numpy(), probabilities[:, :early].mean(1).cpu().numpy()
        whole.update(zip(numbers, means, strict=True))
        soon.update(zip(numbers, early_means, strict=True))
    return np.stack([whole[i] for i in range(clips)]), np.stack([soon[i] for i in range(clips)])


def scores(predictions: tuple[Array, Array], targets: Array) -> tuple[Scores, Scores]:
    """Of the whole clips and of their first 3 s."""
    whole, soon = (metrics.score(part, targets) for part in predictions)
    return whole, soon
