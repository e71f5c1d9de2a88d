"""Learned pooling finds where the answer lies, and stays with the mean where there is nothing to find."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluate import metrics, pooling
from trainer.evaluate.predictions import Predictions, collect


def clips(where: str, n: int = 300, frames: int = 20, seed: int = 0) -> tuple[Predictions, np.ndarray]:
    """Noise of log-odds, and the truth at one random frame (loudest), at the last, or evenly in all."""
    rng = np.random.default_rng(seed)
    given = rng.random((n, 1)) < 0.5
    logits = rng.normal(size=(n, frames, 1)) * (0.5 if where == "loudest" else 2.0)
    if where == "loudest":
        logits[np.arange(n), rng.integers(frames, size=n)] += 4.0 * given - 1.0
    elif where == "last":
        logits[:, -1] = 3.0 * (given - 0.5) + 0.5 * rng.normal(size=(n, 1))
    else:
        logits += 1.0 * (given[:, None] - 0.5)
    p = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return collect(list(p), 0.25, 0.0, 0.25), given


@pytest.mark.parametrize("where", ["loudest", "last"])
def test_the_weights_find_the_informative_frames(where: str) -> None:
    found = pooling.fit(*clips(where))
    test, given = clips(where, seed=1)
    learned, mean = (metrics.score(s, given.astype(np.float32)).roc_auc for s in (found(test), test.mean()))
    assert learned > 0.95
    assert learned > mean + 0.03
    strong, weak = (found.by_value, found.by_time) if where == "loudest" else (found.by_time, found.by_value)
    assert strong[0] > 2 * abs(weak[0])


def test_equally_informative_frames_give_the_mean() -> None:
    found = pooling.fit(*clips("all"))
    test, given = clips("all", seed=1)
    learned, mean = (metrics.score(s, given.astype(np.float32)).roc_auc for s in (found(test), test.mean()))
    assert learned == pytest.approx(mean, abs=0.02)


def test_padding_after_the_end_changes_nothing() -> None:
    predictions, given = clips("last", n=50)
    found = pooling.fit(predictions, given)
    frames = [clip.copy() for clip in predictions.frames]
    longer = collect([*frames, np.full((40, 1), 0.5, np.float32)], 0.25, 0.0, 0.25)
    assert found(longer)[:-1] == pytest.approx(found(predictions), abs=1e-6)
