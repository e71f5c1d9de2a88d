"""Streaming scores of systems with a known memory: none, a fading one, and one that never forgets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.synthetic_model import LeakyIntegrator
from trainer.evaluate import stream_inference, streaming
from trainer.evaluate.evaluated_model import from_streaming
from trainer.evaluate.predictions import Predictions, collect

HOP_S, FRAMES, CLIPS = 0.25, 40, 200
ALL = np.arange(CLIPS)


class Accumulator(LeakyIntegrator):
    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        sums = state[:, None] + x.cumsum(1)
        return torch.sigmoid(sums / 40), sums[:, -1]


@pytest.fixture(scope="module")
def targets() -> np.ndarray:
    return (np.random.default_rng(0).random((CLIPS, 2)) < 0.5).astype(np.float32)


@pytest.fixture(scope="module")
def sounds(targets: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=(CLIPS, FRAMES, 2))
    return (0.6 * (2 * targets[:, None] - 1) + noise).astype(np.float32)


def collected(clips: Sequence[np.ndarray]) -> Predictions:
    return collect(clips, hop_s=HOP_S, lookahead_s=0.5, every_s=HOP_S)


def fresh_predictions(system: LeakyIntegrator, sounds: np.ndarray) -> Predictions:
    return collected(list(stream_inference.predict_fresh(system, sounds.__getitem__, ALL)))


def test_scores_rise_with_the_amount_of_audio(sounds: np.ndarray, targets: np.ndarray) -> None:
    predictions = fresh_predictions(LeakyIntegrator(0.0), sounds)
    found = streaming.scores_by_time(predictions, targets, 1, seconds=(0.3, 0.5, 1, 3, 10))
    assert np.isnan(found.mean[0]), "there is no frame before the look-ahead is over"
    assert (np.diff(found.mean[1:]) > 0).all()
    assert found.mean[-1] > 0.99
    assert found.last[-1] < 0.9, "single frames do not improve"
    assert found.mean[1] == found.last[1]


@pytest.mark.parametrize("forgets", [True, False])
def test_an_hour_only_hurts_a_system_that_never_forgets(forgets: bool, sounds: np.ndarray, targets: np.ndarray) -> None:
    system = LeakyIntegrator(0.8) if forgets else Accumulator(0.0)
    model = from_streaming(system, sounds.__getitem__, {}, HOP_S, 0.5)
    fresh = fresh_predictions(system, sounds)
    found = streaming.endless(model, ALL, targets, 1, fresh, (2, 60), streams=32)
    assert found.streams == 32
    if forgets:
        assert found.carried == pytest.approx(found.fresh, abs=0.02)
    else:
        assert found.carried[0] < found.fresh - 0.03
        assert found.carried[1] < found.carried[0] - 0.1


def test_clips_of_different_lengths_do_not_affect_each_other() -> None:
    rng = np.random.default_rng(2)
    sounds = [rng.normal(size=(length, 2)).astype(np.float32) for length in (5, 9, 3)]
    system, rows = LeakyIntegrator(0.5), np.arange(3)
    after = list(stream_inference.predict_after(system, sounds.__getitem__, rows, np.array([1, 2, 0])))
    assert [len(p) for p in after] == [5, 9, 3]
    for p, clip in zip(stream_inference.predict_fresh(system, sounds.__getitem__, rows), sounds, strict=True):
        expected = system.step(torch.from_numpy(clip)[None], system.initial_state(1))[0][0].numpy()
        assert p == pytest.approx(expected, abs=1e-6)
    # the songs before end together, each as long as the shortest of them
    _, state = system.step(torch.from_numpy(sounds[1][-3:])[None], system.initial_state(1))
    expected = system.step(torch.from_numpy(sounds[0])[None], state)[0][0].numpy()
    assert after[0] == pytest.approx(expected, abs=1e-6)


# --- predictions ----------------------------------------------------------------------------------------------------


def clip(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_mean_and_last_of_clips_of_different_lengths() -> None:
    found = collect([clip(0.0, 0.5, 1.0), clip(0.2, 0.4)], hop_s=0.25, lookahead_s=0.375, every_s=0.25)
    assert found.mean()[:, 0] == pytest.approx([0.5, 0.3])
    assert found.last()[:, 0] == pytest.approx([1.0, 0.4])
    assert list(found.count) == [3, 2]
    assert found.input_s == pytest.approx([0.375, 0.625, 0.875])
    assert found.after(0.37) is None, "before the first frame"
    at_once = found.after(0.7)
    assert at_once is not None
    assert [float(part[0, 0]) for part in at_once] == pytest.approx([0.25, 0.5])


def test_thinned_frames_keep_the_whole_mean_and_the_end() -> None:
    rng = np.random.default_rng(0)
    values = [rng.random((length, 2)).astype(np.float32) for length in (103, 80, 7)]
    found = collect(values, hop_s=0.016, lookahead_s=0.016, every_s=0.256)
    assert found.frames.shape == (3, 7, 2)
    assert found.mean() == pytest.approx(np.stack([v.mean(axis=0) for v in values]), abs=1e-6)
    assert np.array_equal(found.last(), np.stack([v[-1] for v in values]))
    early = found.after(0.256)
    assert early is not None
    assert early[0][0] == pytest.approx(values[0][:16].mean(axis=0), abs=1e-6)
    assert found.input_s[:2] == pytest.approx([0.256, 0.512])


@pytest.mark.parametrize("length", [1, 15, 16, 17])
def test_there_is_at_least_one_point(length: int) -> None:
    found = collect([np.linspace(0, 1, length, dtype=np.float32)[:, None]], 0.016, 0.016, 0.256)
    assert found.last()[0, 0] == (1.0 if length > 1 else 0.0)
