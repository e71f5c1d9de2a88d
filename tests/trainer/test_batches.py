"""Training sequences: what is in a step, when states carry on, and what the changes change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from trainer.batches import Batch, Library, Row, Sampler, level_offsets
from trainer.config import TrainConfig

PLAIN = TrainConfig(
    hidden=8, layers=1, batch=4, frames=10, carry=0.0, cut=0.0, mixup=0.0, gain_db=0.0, tilt_db=0.0,
    noise=0.0,
    time_masks=0, path_masks=0, ramp_s=0.0,
)  # fmt: skip
WIDTH = 24
OFFSETS = np.zeros((2, WIDTH), dtype=np.float32)


def library(clips: int = 8, frames: int = 12, passes: int = 2) -> Library:
    """Features tell clip (x // 200), pass (// 100 % 2) and frame (% 100); targets are clip / 10."""

    def row(clip: int, passage: int) -> Row:
        x = np.repeat((200 * clip + 100 * passage + np.arange(frames))[:, None], WIDTH, axis=1)
        return Row(x.astype(np.float16), np.full((frames, 3), clip / 10, dtype=np.float16))

    rows = tuple(tuple(row(clip, passage) for passage in range(passes)) for clip in range(clips))
    return Library(np.arange(clips), rows)


def batches(config: TrainConfig, source: Library | None = None, seed: int = 1) -> list[Batch]:
    return list(Sampler(source or library(), config, 0.256, OFFSETS).epoch(seed))


def equal(a: list[Batch], b: list[Batch]) -> bool:
    pairs = [(getattr(p, n), getattr(q, n)) for p, q in zip(a, b, strict=True) for n in vars(p)]
    return all(torch.equal(x, y) for x, y in pairs)


def test_an_epoch_holds_every_clip_once_with_its_targets() -> None:
    steps = batches(PLAIN)
    assert len(steps) == 2
    x, y = torch.cat([step.x for step in steps]), torch.cat([step.y for step in steps])
    assert x.shape == (8, 10, WIDTH)
    clips = x[:, 0, 0] // 200
    assert sorted(clips.tolist()) == list(range(8))
    torch.testing.assert_close(y[:, 0, 0], clips / 10, atol=1e-3, rtol=0)
    assert (x[:, 1:] - x[:, :-1] == 1).all()  # frames in their order, one after another
    assert len(set((x[:, 0, 0] % 200 // 100).tolist())) == 2  # both passes are used
    assert all(step.fresh.all() and (step.weight == 1).all() for step in steps)


def test_same_seed_same_batches() -> None:
    config = TrainConfig(hidden=8, layers=1, batch=4, frames=10)
    assert equal(batches(config), batches(config))
    assert not equal(batches(config), batches(config, seed=2))


def test_short_clips_are_filled_with_frames_of_no_weight() -> None:
    steps = batches(replace(PLAIN, carry=1.0), library(frames=6))
    for step in steps:
        assert (step.weight[:, :6] == 1).all()
        assert (step.weight[:, 6:] == 0).all()
        assert step.fresh.all()  # a state that heard the filling is not carried on


def test_states_carry_on_except_at_the_start() -> None:
    first, second = batches(replace(PLAIN, carry=1.0))
    assert first.fresh.all()
    assert not second.fresh.any()


def test_cuts_bring_another_clip_and_its_targets() -> None:
    config = replace(PLAIN, cut=1.0, ramp_s=1.0, ramp_from=0.25)
    changed = 0
    for step in batches(config):
        for x, y, weight in zip(step.x, step.y, step.weight, strict=True):
            clips = x[:, 0] // 200
            torch.testing.assert_close(y[:, 0], clips / 10, atol=1e-3, rtol=0)
            places = torch.nonzero(clips[1:] != clips[:-1])[:, 0] + 1
            assert len(places) <= 1
            for place in places.tolist():
                changed += 1
                assert weight[place] == 0.25  # the ramp starts again
                assert weight[place - 1] > 0.25
    assert changed >= 4


def test_mixup_blends_features_and_targets_alike() -> None:
    (plain, *_), (mixed, *_) = batches(PLAIN), batches(replace(PLAIN, mixup=1.0))
    torch.testing.assert_close(plain.x, batches(PLAIN)[0].x)
    partner = plain.x.roll(1, 0)
    own = (mixed.x - partner)[:, 0, 0] / (plain.x - partner)[:, 0, 0]
    assert ((own >= 0.5) & (own <= 1.0)).all()
    expected = own[:, None, None] * plain.y + (1 - own[:, None, None]) * plain.y.roll(1, 0)
    torch.testing.assert_close(mixed.y, expected, atol=1e-3, rtol=0)


def test_each_change_changes_features_only() -> None:
    plain = batches(PLAIN)[0]
    offsets = np.stack([np.ones(WIDTH), np.linspace(-1, 1, WIDTH)]).astype(np.float32)
    for name, config in {
        "gain": replace(PLAIN, gain_db=3.0),
        "tilt": replace(PLAIN, tilt_db=3.0),
        "noise": replace(PLAIN, noise=1.0),
        "masks": replace(PLAIN, path_masks=9),
    }.items():
        changed = next(Sampler(library(), config, 0.256, offsets).epoch(1))
        assert not torch.equal(changed.x, plain.x), name
        assert torch.equal(changed.y, plain.y), name


def test_level_offsets() -> None:
    std = np.array([1.0, 2.0, 0.5], dtype=np.float32)
    loud, tilt = level_offsets(std, np.array([0, 1, 2]), np.array([0.0, -3.0, 5.0], dtype=np.float32))
    np.testing.assert_allclose(np.exp(20 * loud * std), [10.0, 10.0, 1.0], rtol=1e-5)
    np.testing.assert_allclose(tilt, [0.0, -3 * loud[1], 0.0], rtol=1e-5)
