"""How a clip is scored by its frames: by their mean, by the last one, or by learned pooling, with weights over time.

In learned pooling, for every tag the frames' log-odds are averaged with the weights softmax(α·p + β·t), where p is the
frame's probability and t its position in the clip from 0 to 1. With α = β = 0 this is the mean, a large α takes the
highest frame (like auto-pooling, McFee, Salamon, Bello 2018), a large β the last one. A slope and an offset per tag
calibrate the result. The weights are fitted on the validation split, never on the split that is scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.data.manifest import Array
from trainer.evaluate.predictions import Predictions

POOLINGS = ("mean", "last", "learned")
EPSILON = 1e-5  # probabilities are kept this far from 0 and 1
REGULARIZATION = 1e-3  # towards the plain mean of the log-odds, for tags with few clips
MAX_ITERATIONS = 60


@dataclass(frozen=True)
class Pooling:
    """The parameters [C]: α (`by_value`), β (`by_time`), and the scale of the result."""

    by_value: Array
    by_time: Array
    slope: Array
    offset: Array

    def __call__(self, predictions: Predictions) -> Array:
        """Return probabilities [n, C]."""
        values = (self.by_value, self.by_time, self.slope, self.offset)
        with torch.inference_mode():
            logits = _pool(_tensor(predictions), _positions(predictions), *(torch.from_numpy(v) for v in values))
            return np.asarray(torch.sigmoid(logits).numpy())


def fit(predictions: Predictions, positive: NDArray[np.bool_]) -> Pooling:
    """Fit the parameters to clips [n, F, C] with positives [n, C] by their cross-entropy."""
    frames, positions, target = _tensor(predictions), _positions(predictions), torch.from_numpy(positive).float()
    tags = target.shape[1]
    shape, scale = nn.Parameter(torch.zeros(2, tags)), nn.Parameter(torch.zeros(2, tags))
    optimizer = torch.optim.LBFGS([shape, scale], max_iter=MAX_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = _pool(frames, positions, shape[0], shape[1], 1 + scale[0], scale[1])
        error = nn.functional.binary_cross_entropy_with_logits(logits, target)
        total = error + REGULARIZATION * ((shape**2).mean() + (scale**2).mean())
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    found = (shape[0], shape[1], 1 + scale[0], scale[1])
    return Pooling(*(part.detach().numpy() for part in found))


def _tensor(predictions: Predictions) -> Tensor:
    return torch.from_numpy(predictions.frames)


def _positions(predictions: Predictions) -> Tensor:
    """Return [n, F, 1], from 0 at the start of a clip to 1 at its end."""
    count = torch.from_numpy(predictions.count)[:, None]
    return (torch.arange(predictions.frames.shape[1])[None] / (count - 1).clamp(min=1))[:, :, None].float()


def _pool(
    frames: Tensor, positions: Tensor, by_value: Tensor, by_time: Tensor, slope: Tensor, offset: Tensor
) -> Tensor:
    """Return the log-odds [n, C] of frames [n, F, C]."""
    valid = frames.isfinite()
    p = torch.where(valid, frames, 0.5).clamp(EPSILON, 1 - EPSILON)
    weights = (by_value * p + by_time * positions).masked_fill(~valid, -torch.inf).softmax(dim=1)
    return slope * (weights * torch.logit(p)).sum(dim=1) + offset
