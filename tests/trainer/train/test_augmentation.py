"""Each change of the features does what its name says, to the features alone or to the targets alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from trainer.train.augmentation import FeatureAugmentation, Sequences, mixup_partners
from trainer.train.config import TrainConfig

PLAIN = TrainConfig(
    mixup=0.0, gain_db=0.0, tilt_db=0.0, noise=0.0, time_masks=0, path_masks=0, input_dropout=0.0
)  # fmt: skip
SLOTS, FRAMES, WIDTH = 6, 40, 36
NO_ONE = torch.zeros(400, 0)  # has labelled these sequences
OFFSETS = torch.stack([torch.ones(WIDTH), torch.linspace(-1, 1, WIDTH)])


def sequences(slots: int = SLOTS) -> Sequences:
    torch.manual_seed(1)
    x, y, weight = torch.randn(slots, FRAMES, WIDTH), torch.rand(slots, FRAMES, 3), torch.rand(slots, FRAMES)
    return Sequences(x, y, weight, torch.rand(slots, 2))


def changed(config: TrainConfig, seed: int = 1, part: slice = slice(0, SLOTS)) -> Sequences:
    own = sequences()
    cut = Sequences(own.x[part], own.y[part], own.weight[part], own.human[part])
    return FeatureAugmentation(config, OFFSETS).apply(cut, SLOTS, part, seed)


def test_the_empty_recipe_changes_nothing() -> None:
    found, plain = changed(PLAIN), sequences()
    assert torch.equal(found.x, plain.x)
    assert torch.equal(found.y, plain.y)
    assert torch.equal(found.weight, plain.weight)


@pytest.mark.parametrize(
    "settings", [{"gain_db": 3.0}, {"tilt_db": 3.0}, {"noise": 1.0}, {"path_masks": 9}, {"input_dropout": 0.5}]
)
def test_each_change_changes_features_only(settings: dict[str, float]) -> None:
    found, plain = changed(replace(PLAIN, **settings)), sequences()  # type: ignore[arg-type]
    assert not torch.equal(found.x, plain.x)
    assert torch.equal(found.y, plain.y)
    assert torch.equal(found.weight, plain.weight)
    again = changed(replace(PLAIN, **settings))  # type: ignore[arg-type]
    assert torch.equal(found.x, again.x)
    assert not torch.equal(found.x, changed(replace(PLAIN, **settings), seed=2).x)  # type: ignore[arg-type]


def test_loudness_and_tilt_move_whole_sequences_along_their_offsets() -> None:
    plain = sequences()
    loud = changed(replace(PLAIN, gain_db=3.0)).x - plain.x
    torch.testing.assert_close(loud, loud[:, :1, :1].expand_as(loud), atol=1e-5, rtol=0)
    tilted = changed(replace(PLAIN, tilt_db=3.0)).x - plain.x
    torch.testing.assert_close(tilted, (-tilted[:, :1, :1] * OFFSETS[1]).expand_as(tilted), atol=1e-5, rtol=0)


def test_masks_hide_stretches_of_time_and_of_features() -> None:
    def hidden(config: TrainConfig) -> Tensor:
        own = Sequences(torch.ones(400, FRAMES, WIDTH), torch.zeros(400, FRAMES, 1), torch.ones(400, FRAMES), NO_ONE)
        return FeatureAugmentation(config, OFFSETS).apply(own, 400, slice(0, 400), 1).x == 0

    in_time, in_paths = hidden(replace(PLAIN, time_masks=1)), hidden(replace(PLAIN, path_masks=1))
    assert (in_time.all(2) == in_time.any(2)).all(), "a moment is hidden as a whole"
    assert (in_paths.all(1) == in_paths.any(1)).all(), "a feature for the whole sequence"
    for gone, widest in ((in_time.all(2), FRAMES // 10 - 1), (in_paths.all(1), WIDTH // 12 - 1)):
        sizes = gone.sum(1)
        assert int(sizes.max()) == widest
        assert int(sizes.min()) == 0
        assert int((gone.int().diff(dim=1) == 1).sum(1).max()) <= 1, "one stretch"
        assert bool(gone[:, 0].any())
        assert bool(gone[:, -1].any())
    assert int(hidden(replace(PLAIN, time_masks=2)).all(2).sum(1).max()) > FRAMES // 10 - 1


def test_dropped_features_keep_the_mean() -> None:
    own = Sequences(torch.ones(400, 2, WIDTH), torch.zeros(400, 2, 1), torch.ones(400, 2), NO_ONE)
    x = FeatureAugmentation(replace(PLAIN, input_dropout=0.25), OFFSETS).apply(own, 400, slice(0, 400), 1).x
    assert float(x.mean()) == pytest.approx(1.0, abs=0.02)
    assert float((x == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert torch.equal(x[:, 0], x[:, 1]), "for the whole sequence"


def test_an_odd_last_sequence_is_mixed_with_itself() -> None:
    assert mixup_partners(5).tolist() == [1, 0, 3, 2, 4]
    assert mixup_partners(4).tolist() == [1, 0, 3, 2]


def test_blends_mix_features_and_targets_alike() -> None:
    found, plain = changed(replace(PLAIN, mixup=1.0)), sequences()
    for slot in range(SLOTS):
        own, other = plain.x[slot] - plain.x[slot ^ 1], found.x[slot] - plain.x[slot ^ 1]
        share = float((own * other).sum() / (own * own).sum())
        assert 0.5 <= share <= 1.0
        torch.testing.assert_close(found.x[slot], share * plain.x[slot] + (1 - share) * plain.x[slot ^ 1])
        torch.testing.assert_close(found.y[slot], share * plain.y[slot] + (1 - share) * plain.y[slot ^ 1])
        assert torch.equal(found.weight[slot], torch.minimum(plain.weight[slot], plain.weight[slot ^ 1]))
    assert not found.human.any(), "people have not listened to mixtures"
    assert torch.equal(changed(PLAIN).human, plain.human)


def test_how_many_processes_share_a_step_changes_nothing() -> None:
    config = replace(TrainConfig(), mixup=0.5, noise=0.5)
    whole = changed(config)
    for part in (slice(0, 2), slice(2, 6)):
        some = changed(config, part=part)
        for name in ("x", "y", "weight", "human"):
            torch.testing.assert_close(getattr(some, name), getattr(whole, name)[part], atol=1e-6, rtol=0)
