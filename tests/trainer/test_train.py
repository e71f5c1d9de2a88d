"""Training learns a rule that is there and none that is not; a killed run ends like an undisturbed one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamtag.errors import ManifestError, SpecError
from trainer.config import TrainConfig
from trainer.features import Cache
from trainer.train import Data, Run, load_data, loss_of


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small products are fastest, and repeatable, on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def nothing() -> None:
    """Takes the place of a progress bar."""


@pytest.fixture(scope="module")
def data(cache: Cache, small: TrainConfig) -> Data:
    return load_data(cache, small, 1, nothing)


def test_features_are_standardised(data: Data) -> None:
    assert data.valid.rows[0][0].x.shape[1] == 374
    values = np.concatenate([row[0].x for row in data.valid.rows]).astype(np.float32)
    assert abs(values.mean()) < 0.3
    assert 0.5 < values.std() < 2.0


def test_learns_the_rule_and_not_the_coin(data: Data, small: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path, small, data)
    results = list(run.epochs())
    assert results[-1].loss < results[0].loss
    given = data.targets >= 0.5
    means = run.predict(data.valid).mean(axis=1)

    def auc(tag: int) -> float:
        high, low = means[given[:, tag], tag], means[~given[:, tag], tag]
        return float((high[:, None] > low[None]).mean())

    assert auc(0) > 0.95
    assert auc(1) > 0.95
    assert 0.2 < auc(2) < 0.8


def test_shuffled_labels_are_not_learned(cache: Cache, small: TrainConfig, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    teachers = cache.manifest.teachers.copy()
    training = cache.manifest.split("train")
    teachers[:, training] = teachers[:, rng.permutation(training)]
    shuffled = Cache(cache.root, replace(cache.manifest, teachers=teachers), cache.front.name, 1)
    run = Run(tmp_path, small, load_data(shuffled, small, 1, nothing))
    last = list(run.epochs())[-1]
    assert 0.25 < last.roc_auc < 0.75


def test_goes_on_after_a_kill_with_the_same_bytes(data: Data, small: TrainConfig, tmp_path: Path) -> None:
    config = replace(small, epochs=4, carry=0.5)
    whole = Run(tmp_path / "whole", config, data)
    list(whole.epochs())
    killed = Run(tmp_path / "killed", config, data)
    next(killed.epochs())
    again = Run(tmp_path / "killed", config, data)
    assert again.epoch == 1
    list(again.epochs())
    for name in ("checkpoint.safetensors", "best.safetensors", "config.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    other = Run(tmp_path / "other", replace(config, seed=2), data)
    list(other.epochs())
    checkpoints = [(tmp_path / run / "checkpoint.safetensors").read_bytes() for run in ("other", "whole")]
    assert checkpoints[0] != checkpoints[1]
    lines = [(tmp_path / run / "log.csv").read_text().splitlines() for run in ("killed", "whole")]
    assert [len(log) for log in lines] == [5, 5]
    assert [line.rsplit(",", 1)[0] for line in lines[0]] == [line.rsplit(",", 1)[0] for line in lines[1]]


def test_the_sequences_follow_the_settings_of_the_run(data: Data, small: TrainConfig, tmp_path: Path) -> None:
    for carry in (0.0, 1.0):
        run = Run(tmp_path / str(carry), replace(small, carry=carry, cut=0.0), data)
        _, second, *_ = run.sampler.epoch(1)
        assert bool(second.fresh.all()) == (carry == 0.0)
    small_steps = Run(tmp_path / "8", replace(small, batch=8), data).sampler.steps()
    assert small_steps == 2 * Run(tmp_path / "16", replace(small, batch=16), data).sampler.steps()


def test_a_finished_run_stays_finished(data: Data, small: TrainConfig, tmp_path: Path) -> None:
    config = replace(small, epochs=1)
    assert len(list(Run(tmp_path, config, data).epochs())) == 1
    assert list(Run(tmp_path, config, data).epochs()) == []


def test_stops_when_validation_no_longer_improves(data: Data, small: TrainConfig, tmp_path: Path) -> None:
    config = replace(small, epochs=50, patience=2, rate=1e-12)  # it cannot learn
    run = Run(tmp_path, config, data)
    assert len(list(run.epochs())) == run.best_epoch + 2 < 50


def test_begins_with_the_best_weights_of_another_run(data: Data, small: TrainConfig, tmp_path: Path) -> None:
    first = Run(tmp_path / "first", replace(small, epochs=4), data)
    best = max(epoch.roc_auc for epoch in first.epochs())
    gentle = replace(small, epochs=1, rate=1e-9)
    after = next(iter(Run(tmp_path / "second", gentle, data, start=tmp_path / "first").epochs()))
    assert after.roc_auc == pytest.approx(best, abs=1e-3)
    fresh = next(iter(Run(tmp_path / "third", gentle, data).epochs()))
    assert fresh.roc_auc < best - 0.01, "the best weights are better than fresh ones"
    other = replace(small, hidden=small.hidden + 1)
    with pytest.raises(ManifestError, match="another network"):
        Run(tmp_path / "fourth", other, data, start=tmp_path / "first")
    with pytest.raises(ManifestError, match="no training file"):
        Run(tmp_path / "fifth", small, data, start=tmp_path / "nowhere")


def test_other_settings_are_refused(data: Data, small: TrainConfig, tmp_path: Path) -> None:
    Run(tmp_path, small, data)
    with pytest.raises(SpecError, match="other settings"):
        Run(tmp_path, replace(small, rate=0.5), data)


def test_damaged_checkpoint_is_refused(data: Data, small: TrainConfig, tmp_path: Path) -> None:
    next(Run(tmp_path, small, data).epochs())
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ManifestError, match="no training file"):
        Run(tmp_path, small, data)


def test_loss_counts_only_weighted_frames() -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(2, 6, 3), torch.rand(2, 6, 3)
    weight = torch.ones(2, 6)
    weight[:, 4:] = 0
    short = loss_of(logits[:, :4], y[:, :4], weight[:, :4], 0.5)
    torch.testing.assert_close(loss_of(logits, y, weight, 0.5), short)
    other = y.clone()
    other[:, 5] = 1 - other[:, 5]
    torch.testing.assert_close(loss_of(logits, other, weight, 0.5), short)
    other[:, 0] = 1 - other[:, 0]
    assert not torch.isclose(loss_of(logits, other, weight, 0.5), short)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch", 2.5),
        ("dropout", 1.0),
        ("rate", 0.0),
        ("mixup", -0.1),
        ("compression", "sqrt"),
    ],
)
def test_settings_are_checked(name: str, value: object) -> None:
    with pytest.raises(SpecError):
        TrainConfig(**{name: value})  # type: ignore[arg-type]


def test_settings_survive_json() -> None:
    config = TrainConfig(epochs=3)
    assert TrainConfig.from_dict(config.to_dict()) == config
    with pytest.raises(SpecError, match="colour"):
        TrainConfig.from_dict({**config.to_dict(), "colour": 1})
