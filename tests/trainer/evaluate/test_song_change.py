"""Changes of song, heard by systems with a known memory: none, a few frames, and one that never forgets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from streamtag.errors import SourceError
from tests.trainer.synthetic_model import LeakyIntegrator
from trainer.evaluate import song_change
from trainer.evaluate.evaluated_model import ClipSound, EvaluatedModel, from_streaming
from trainer.evaluate.stream_inference import predict_after, predict_fresh

HOP_S, FRAMES, CLIPS, TAGS = 0.25, 40, 200, 2
RATE = round(TAGS / HOP_S)  # a frame of features is two samples
ALL = np.arange(CLIPS)


@dataclass
class MovingMean:
    """Returns the mean of the last `frames` frames, silence before the first."""

    frames: int

    def initial_state(self, streams: int) -> Tensor:
        return torch.zeros(streams, self.frames - 1, TAGS)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([state, x], dim=1)
        return torch.sigmoid(seen.unfold(1, self.frames, 1).mean(-1)), seen[:, x.shape[1] :]

    def output_count(self, frames: int) -> int:
        return frames


@pytest.fixture(scope="module")
def targets() -> np.ndarray:
    return (np.random.default_rng(0).random((CLIPS, TAGS)) < 0.5).astype(np.float32)


def model_of(system: MovingMean | LeakyIntegrator, targets: np.ndarray, noise: float = 0.0) -> EvaluatedModel:
    """Return a model of clips whose level is 1 for a tag that is given, and -1 for one that is not."""
    frames = 2 * targets[:, None] - 1 + noise * np.random.default_rng(1).normal(size=(CLIPS, FRAMES, TAGS))
    sounds = frames.reshape(CLIPS, -1).astype(np.float32)
    sound = ClipSound(RATE, sounds.__getitem__, lambda samples: samples.reshape(-1, TAGS))
    return from_streaming(system, lambda clip: sounds[clip].reshape(-1, TAGS), {}, HOP_S, 0.5, sound)


def changed(model: EvaluatedModel, targets: np.ndarray, fade_s: float | None) -> song_change.SongChange:
    """Return the scores after a hard cut of features, or a cross-fade of sound."""
    assert model.system
    assert model.read
    before = song_change.draw_previous(ALL, [""] * CLIPS, seed=1)
    if fade_s is None:
        carried = predict_after(model.system, model.read, ALL, before)
    else:
        carried = song_change.predict_across(model, ALL, before, fade_s=fade_s)
    fresh = model.collect(predict_fresh(model.system, model.read, ALL))
    return song_change.song_change(model.collect(carried), fresh, targets, targets[before], 1)


@pytest.mark.parametrize("keep", [0.0, 0.8])
def test_settling_after_a_song_change_takes_as_long_as_the_memory(keep: float, targets: np.ndarray) -> None:
    found = changed(model_of(LeakyIntegrator(keep), targets, noise=1.7), targets, None)
    if keep == 0.0:
        assert np.array_equal(found.carried, found.fresh), "without a memory the song before has no effect"
    else:
        assert found.carried[0] < found.fresh[0] - 0.05
        assert found.fresh_settled_s < found.settled_s < 0.5 + 20 * HOP_S
        assert found.carried[-1] == pytest.approx(found.fresh[-1], abs=0.01)


@pytest.mark.parametrize("fade_s", [None, 0.0, 2.0])
@pytest.mark.parametrize("memory", [1, 4, 12])
def test_the_old_songs_tags_stay_for_the_cross_fade_and_the_memory(
    memory: int, fade_s: float | None, targets: np.ndarray
) -> None:
    found = changed(model_of(MovingMean(memory), targets), targets, fade_s)
    frames = round((fade_s or 0.0) / HOP_S) + memory - 1
    assert found.old_below_s(0.05) == pytest.approx(found.input_s[frames])
    assert np.array_equal(found.old_carried[frames:], found.old_fresh[frames:])
    if frames:
        assert found.old_carried[0] > 0.9, "at the change the old song is heard"


def test_old_tags_that_never_go_have_no_time(targets: np.ndarray) -> None:
    found = changed(model_of(MovingMean(FRAMES + 9), targets), targets, None)
    assert np.isnan(found.old_below_s(0.05))
    assert found.old_below_s(0.9) < found.input_s[-1], "some of them go"


@pytest.mark.parametrize("fade_s", [0.0, 2.0])
def test_a_cross_fade_of_no_length_is_a_hard_cut(fade_s: float, targets: np.ndarray) -> None:
    model = model_of(LeakyIntegrator(0.8), targets, noise=1.0)
    cut, across = changed(model, targets, None), changed(model, targets, fade_s)
    assert np.array_equal(cut.carried, across.carried) == (fade_s == 0.0)
    assert len(across.carried) == FRAMES


def test_a_cross_fade_keeps_the_power_and_begins_at_a_hop() -> None:
    rng = np.random.default_rng(0)
    old, new = (rng.normal(size=length).astype(np.float32) for length in (50_000, 40_000))
    joined, start = song_change.join(old, new, 16_000, 4_096)
    assert start % 4_096 == 0
    assert len(joined) - start == len(new)
    assert np.array_equal(joined[:start], old[-16_000 - start : -16_000])
    assert np.array_equal(joined[start + 16_000 :], new[16_000:])
    power = (joined[start : start + 16_000] ** 2).reshape(4, -1).mean(axis=1)
    assert power == pytest.approx(np.ones(4), abs=0.1), "a linear one falls to half"
    assert np.corrcoef(joined[start : start + 1_000], old[-16_000:-15_000])[0, 1] > 0.99


def test_a_model_of_features_alone_has_no_cross_fade() -> None:
    model = from_streaming(MovingMean(1), lambda _: np.zeros((1, TAGS), np.float32), {}, HOP_S, 0.5)
    with pytest.raises(SourceError, match="features alone"):
        list(song_change.predict_across(model, ALL, ALL))


def test_settling_time_is_when_the_score_approaches_its_end() -> None:
    times = np.arange(1.0, 9.0)
    rising = np.array([0.5, 0.6, 0.9, 0.955, 0.96, 1.0, 1.0, 1.0])  # 0.98 on the mean of the last five seconds
    assert song_change.settling_time(times, rising) == 5.0, "0.955 has 95 % of the score, not of its gain above 0.5"
    assert song_change.settling_time(times, rising[::-1]) == 1.0


def test_fading_time_is_when_an_excess_stays_small() -> None:
    times = np.arange(1.0, 7.0)
    falling = np.array([0.4, 0.1, 0.01, 0.1, 0.02, 0.01])
    assert song_change.fading_time(times, falling, 0.05) == 5.0, "it rises once more"
    assert song_change.fading_time(times, falling, 0.5) == 2.0
    assert song_change.fading_time(times, np.array([-0.01, -0.02, -0.1, -0.1, -0.1, -0.1]), 0.05) == 1.0
    assert np.isnan(song_change.fading_time(times, np.full(6, np.nan), 0.05))


def test_the_previous_song_is_by_another_artist() -> None:
    artists = [str(index % 3) for index in range(30)]
    before = song_change.draw_previous(np.arange(30), artists, seed=3)
    assert all(artists[a] != artists[b] for a, b in enumerate(before))
    unknown = song_change.draw_previous(np.arange(30), [""] * 30, seed=3)
    assert (unknown != np.arange(30)).all()
    assert not np.array_equal(unknown, song_change.draw_previous(np.arange(30), [""] * 30, seed=4))


def test_many_cross_fades_are_sampled() -> None:
    assert np.array_equal(song_change.draw_fades(5, seed=1, limit=5), np.arange(5))
    drawn = song_change.draw_fades(50, seed=1, limit=5)
    assert len(set(drawn)) == 5
    assert not np.array_equal(drawn, np.arange(5))
