"""One score a clip out of its frames, by weights over time that are learned.

For every tag the frames' log-odds are averaged with the weights softmax(α·p + β·t), where p is the frame's
probability and t its place in the clip from 0 to 1. With α = β = 0 that is the mean, a large α takes the
highest frame (as auto-pooling does, McFee, Salamon, Bello 2018), a large β the last one. A slope and an offset
a tag put the result back on the scale of probabilities. Fitted on the validation split, never on the one that
is scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.data.manifest import Array
from trainer.evaluate.predictions import Predictions

EDGE = 1e-5  # probabilities are kept this far from 0 and 1
PULL = 1e-3  # towards the plain mean of the log-odds, for tags with little to learn from
ROUNDS = 60


@dataclass(frozen=True)
class Pooling:
    """by_loudest, by_time, slope, offset [C]: α, β, and the scale of the result."""

    by_loudest: Array
    by_time: Array
    slope: Array
    offset: Array

    def __call__(self, predictions: Predictions) -> Array:
        """[n, C] probabilities."""
        values = (self.by_loudest, self.by_time, self.slope, self.offset)
        with torch.inference_mode():
            logits = _pooled(_tensor(predictions), _places(predictions), *(torch.from_numpy(v) for v in values))
            return np.asarray(torch.sigmoid(logits).numpy())


def fit(predictions: Predictions, given: NDArray[np.bool_]) -> Pooling:
    """The weights with the least cross-entropy on clips [n, F, C] with what is given [n, C]."""
    frames, places, target = _tensor(predictions), _places(predictions), torch.from_numpy(given).float()
    tags = target.shape[1]
    shape, scale = nn.Parameter(torch.zeros(2, tags)), nn.Parameter(torch.zeros(2, tags))
    optimizer = torch.optim.LBFGS([shape, scale], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = _pooled(frames, places, shape[0], shape[1], 1 + scale[0], scale[1])
        error = nn.functional.binary_cross_entropy_with_logits(logits, target)
        total = error + PULL * ((shape**2).mean() + (scale**2).mean())
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    found = (shape[0], shape[1], 1 + scale[0], scale[1])
    return Pooling(*(part.detach().numpy() for part in found))


def _tensor(predictions: Predictions) -> Tensor:
    return torch.from_numpy(predictions.frames)


def _places(predictions: Predictions) -> Tensor:
    """[n, F, 1]: from 0 at a clip's beginning to 1 at its end."""
    count = torch.from_numpy(predictions.count)[:, None]
    return (torch.arange(predictions.frames.shape[1])[None] / (count - 1).clamp(min=1))[:, :, None].float()


def _pooled(
    frames: Tensor, places: Tensor, by_loudest: Tensor, by_time: Tensor, slope: Tensor, offset: Tensor
) -> Tensor:
    """[n, F, C] -> log-odds [n, C]."""
    there = frames.isfinite()
    p = torch.where(there, frames, 0.5).clamp(EDGE, 1 - EDGE)
    weights = (by_loudest * p + by_time * places).masked_fill(~there, -torch.inf).softmax(dim=1)
    return slope * (weights * torch.logit(p)).sum(dim=1) + offset
