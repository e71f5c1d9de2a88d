"""Streaming figures of listeners whose memory is known: none, a fading one, one that never lets go."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.leaky import Leaky
from trainer.evaluate import stream_inference, streaming
from trainer.evaluate.predictions import Predictions, collect

HOP_S, FRAMES, CLIPS = 0.25, 40, 200


class Overflowing(Leaky):
    """Adds up everything it ever heard."""

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        sums = state[:, None] + x.cumsum(1)
        return torch.sigmoid(sums / 40), sums[:, -1]


@pytest.fixture(scope="module")
def targets() -> np.ndarray:
    return (np.random.default_rng(0).random((CLIPS, 2)) < 0.5).astype(np.float32)


@pytest.fixture(scope="module")
def sounds(targets: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(CLIPS, FRAMES, 2))
    return (0.6 * (2 * targets[:, None] - 1) + noise).astype(np.float32)


ALL = np.arange(CLIPS)
collected = partial(collect, hop_s=HOP_S, lookahead_s=0.5, every_s=HOP_S)


def alone(listener: Leaky, sounds: np.ndarray) -> Predictions:
    return collected(list(stream_inference.fresh(listener, sounds.__getitem__, ALL)))


def test_more_is_known_the_more_is_heard(sounds: np.ndarray, targets: np.ndarray) -> None:
    found = streaming.heard(alone(Leaky(0.0), sounds), targets, 1, seconds=(0.3, 0.5, 1, 3, 10))
    assert np.isnan(found.mean[0]), "nothing can be said before the look-ahead is over"
    assert (np.diff(found.mean[1:]) > 0).all()
    assert found.mean[-1] > 0.99
    assert found.last[-1] < 0.9, "one frame alone never tells more"
    assert found.mean[1] == found.last[1]


@pytest.mark.parametrize("keep", [0.0, 0.8])
def test_a_song_change_takes_as_long_as_the_memory(keep: float, sounds: np.ndarray, targets: np.ndarray) -> None:
    listener = Leaky(keep)
    before = streaming.songs_before(ALL, [""] * CLIPS, seed=1)
    carried = collected(list(stream_inference.after(listener, sounds.__getitem__, ALL, before)))
    found = streaming.change(carried, alone(listener, sounds), targets, 1)
    if keep == 0.0:
        assert np.array_equal(found.carried, found.fresh), "without a memory nothing is left of the song before"
    else:
        assert found.carried[0] < found.fresh[0] - 0.05
        assert found.fresh_arrived_s < found.arrived_s < 0.5 + 20 * HOP_S
        assert found.carried[-1] == pytest.approx(found.fresh[-1], abs=0.01)


def test_arrival_is_when_the_score_gets_near_its_end() -> None:
    times = np.arange(1.0, 9.0)
    rising = np.array([0.5, 0.6, 0.9, 0.94, 0.96, 1.0, 1.0, 1.0])  # 0.98 on the mean of the last five seconds
    assert streaming.arrival(times, rising) == 4.0
    assert streaming.arrival(times, rising[::-1]) == 1.0
    assert streaming.arrival(times, np.full(8, 0.5)) == 1.0


def endless(listener: Leaky, sounds: np.ndarray, targets: np.ndarray, minutes: Sequence[int]) -> streaming.Endless:
    fresh = alone(listener, sounds)
    read = sounds.__getitem__
    return streaming.endless(listener, read, ALL, targets, 1, HOP_S, collected, fresh, minutes, streams=32)


def test_an_hour_does_not_hurt_what_forgets(sounds: np.ndarray, targets: np.ndarray) -> None:
    found = endless(Leaky(0.8), sounds, targets, (2, 60))
    assert found.carried == pytest.approx(found.fresh, abs=0.02)
    assert found.streams == 32


def test_an_hour_hurts_what_never_lets_go(sounds: np.ndarray, targets: np.ndarray) -> None:
    found = endless(Overflowing(0.0), sounds, targets, (2, 60))
    assert found.carried[0] < found.fresh - 0.03
    assert found.carried[1] < found.carried[0] - 0.1


def test_the_song_before_is_another_artists() -> None:
    artists = [str(place % 3) for place in range(30)]
    before = streaming.songs_before(np.arange(30), artists, seed=3)
    assert all(artists[a] != artists[b] for a, b in enumerate(before))
    unknown = streaming.songs_before(np.arange(30), [""] * 30, seed=3)
    assert (unknown != np.arange(30)).all()
    assert not np.array_equal(unknown, streaming.songs_before(np.arange(30), [""] * 30, seed=4))


def test_clips_of_different_lengths_are_heard_as_if_alone() -> None:
    rng = np.random.default_rng(2)
    sounds = [rng.normal(size=(length, 2)).astype(np.float32) for length in (5, 9, 3)]
    listener, rows = Leaky(0.5), np.arange(3)
    after = list(stream_inference.after(listener, sounds.__getitem__, rows, np.array([1, 2, 0])))
    assert [len(said) for said in after] == [5, 9, 3]
    one_by_one = list(stream_inference.fresh(listener, sounds.__getitem__, rows))
    for said, clip in zip(one_by_one, sounds, strict=True):
        expected = listener.step(torch.from_numpy(clip)[None], listener.initial_state(1))[0][0].numpy()
        assert said == pytest.approx(expected, abs=1e-6)
    # all songs before end together, heard for as long as the shortest of them
    _, state = listener.step(torch.from_numpy(sounds[1][-3:])[None], listener.initial_state(1))
    expected = listener.step(torch.from_numpy(sounds[0])[None], state)[0][0].numpy()
    assert after[0] == pytest.approx(expected, abs=1e-6)
