"""Training learns a rule that is there and none that is not; a killed run ends like an undisturbed one."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from streamtag.errors import ManifestError, OutputError, SpecError
from tests.trainer.train.conftest import SetUnits
from trainer.data.manifest import WindowTargets
from trainer.evaluate.evaluated_model import from_run
from trainer.features.cache import Cache
from trainer.run import load_run
from trainer.train.checkpoint import load, save
from trainer.train.config import ADDED, TrainConfig
from trainer.train.dataset import TrainingData, load_data
from trainer.train.frame_loader import FrameLoader
from trainer.train.loop import Run


def nothing() -> None:
    """Takes the place of a progress bar."""


@pytest.fixture(scope="module")
def data(cache: Cache, small: TrainConfig) -> TrainingData:
    return load_data(cache, small, 1, nothing)


def auc(positive: np.ndarray, predicted: np.ndarray) -> float:
    high, low = predicted[positive], predicted[~positive]
    return float((high[:, None] > low[None]).mean())


@pytest.mark.parametrize(
    ("system", "settings"),
    [
        ("Scat-2L-32H-GRU", {}),
        pytest.param("Scat-2L-32H-GRU", {"recurrent_dropout": 0.25, "dropout": 0.0}, marks=pytest.mark.slow),
    ],
)
def test_learns_the_rules_and_not_the_coin(
    system: str, settings: dict[str, float], data: TrainingData, small: TrainConfig, tmp_path: Path
) -> None:
    run = Run(tmp_path, replace(small, system=system, **settings), data)  # type: ignore[arg-type]
    results = list(run.epochs())
    assert results[-1].loss < results[0].loss
    given, (means, _) = data.targets >= 0.5, run.predictions()
    assert auc(given[:, 0], means[:, 0]) > 0.95
    assert auc(given[:, 1], means[:, 1]) > 0.95
    assert 0.2 < auc(given[:, 2], means[:, 2]) < 0.8


@pytest.mark.parametrize("system", ["Scat-2L-32H-GRU", pytest.param("Scat-1L-16H-BN-LSTM", marks=pytest.mark.slow)])
def test_a_killed_run_continues_to_the_same_bytes(
    system: str, data: TrainingData, small: TrainConfig, tmp_path: Path
) -> None:
    config = replace(small, system=system, epochs=4, carry=0.0 if "BN" in system else 0.5)
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


def test_a_kill_within_an_epoch_only_loses_that_epoch(data: TrainingData, small: TrainConfig, tmp_path: Path) -> None:
    config = replace(small, epochs=2)
    list(Run(tmp_path / "whole", config, data).epochs())

    steps = 0

    def tick() -> None:
        nonlocal steps
        steps += 1
        if steps == 6:  # of 8
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(Run(tmp_path / "killed", config, data).epochs(tick))
    again = Run(tmp_path / "killed", config, data)
    assert again.epoch == 1
    list(again.epochs())
    for name in ("checkpoint.safetensors", "best.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_tensorboard_events_equal_the_log(data: TrainingData, small: TrainConfig, tmp_path: Path) -> None:
    results = list(Run(tmp_path, replace(small, epochs=2), data).epochs())
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for name in ("loss", "roc_auc"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(epoch.epoch, pytest.approx(getattr(epoch, name))) for epoch in results]


def test_stops_when_validation_no_longer_improves(data: TrainingData, small: TrainConfig, tmp_path: Path) -> None:
    config = replace(small, epochs=50, patience=2, rate=1e-12)  # it cannot learn
    run = Run(tmp_path, config, data)
    assert len(list(run.epochs())) == run.best_epoch + 2 < 50


def test_the_best_or_the_last_epoch_is_kept(data: TrainingData, small: TrainConfig, tmp_path: Path) -> None:
    config = replace(small, epochs=3, rate=1e-12)  # it cannot learn, so that the first epoch is the best
    for keep, epoch in (("best", 1), ("last", 3)):
        list(Run(tmp_path / keep, replace(config, keep=keep), data).epochs())
        assert load_run(tmp_path / keep).best["epoch"] == epoch


def test_constant_targets_are_stored_once_per_clip(cache: Cache, small: TrainConfig) -> None:
    """Mixtures too: the partner adds a share that does not change over time."""
    rows = [row for passes in load_data(cache, small, 1, nothing).training.rows for row in passes]
    assert len(rows) == 128
    assert {row.y.shape for row in rows} == {(1, 3)}
    assert any(0 < float(value) < 1 for row in rows for value in row.y.flat), "some are mixtures"
    windows = WindowTargets(np.zeros((96, 2, 3), np.float32), 1.5, 1.5)
    changing = copy(cache)
    changing.manifest = replace(cache.manifest, windows=windows)
    varying = load_data(changing, small, 1, nothing).training.rows[0]
    assert [len(row.y) for row in varying] == [row.frames for row in varying]
    flat = load_data(changing, replace(small, modulation=0.0), 1, nothing).training.rows[0]
    assert [len(row.y) for row in flat] == [1, 1]


def with_positives(cache: Cache, positives: int) -> Cache:
    """The cache with so many positive validation clips for each tag, of 32."""
    changed, rows = copy(cache), cache.manifest.split("valid")
    teachers = cache.manifest.teachers.copy()
    teachers[:, rows] = 0.0
    teachers[:, rows[:positives]] = 1.0
    changed.manifest = replace(cache.manifest, teachers=teachers)
    return changed


def test_few_positives_of_hard_labels_are_enough_for_a_best_epoch(
    cache: Cache, small: TrainConfig, tmp_path: Path
) -> None:
    few = load_data(with_positives(cache, 2), small, 0, nothing)
    (only,) = Run(tmp_path, replace(small, epochs=1), few).epochs()
    assert load_run(tmp_path).best["roc_auc"] == only.roc_auc
    assert 0.0 <= only.roc_auc_3s <= 1.0


def test_without_any_score_training_does_not_begin(cache: Cache, small: TrainConfig) -> None:
    for positives in (0, 32):
        with pytest.raises(ManifestError, match="no tag has a clip with it and a clip without it in split 'valid'"):
            load_data(with_positives(cache, positives), small, 0, nothing)


def test_the_best_epoch_can_be_loaded(data: TrainingData, cache: Cache, small: TrainConfig, tmp_path: Path) -> None:
    run = Run(tmp_path, replace(small, epochs=1, precision="float32"), data)
    (only,) = run.epochs()
    trained = load_run(tmp_path)
    assert trained.tags == data.tags
    assert trained.best == {"epoch": 1, "roc_auc": only.roc_auc}
    clips = [cache.manifest.clips[i].clip_id for i in cache.manifest.split("valid")]
    features = torch.from_numpy(np.stack([cache.read(0, clip) for clip in clips[:4]]))
    means = trained.predict_frames(features).mean(1)
    torch.testing.assert_close(means, torch.from_numpy(run.predictions()[0][:4]), atol=1e-5, rtol=0)
    assert not torch.allclose(means, trained.predict_frames(features * 0).mean(1), atol=1e-3)


def test_products_have_the_precision_that_the_device_has_units_for(
    data: TrainingData, small: TrainConfig, tmp_path: Path, set_bfloat16_units: SetUnits
) -> None:
    for units, used in ((True, torch.bfloat16), (False, torch.float32)):
        set_bfloat16_units(units)
        assert Run(tmp_path, small, data).dtype == used


def test_scores_after_3_s_are_those_of_evaluation(
    data: TrainingData, cache: Cache, small: TrainConfig, tmp_path: Path
) -> None:
    """Seconds of audio, which include the look-ahead: frame 10 of these is the last one that 3 s give."""
    run = Run(tmp_path, replace(small, epochs=1, precision="float32"), data)
    list(run.epochs())
    model = from_run(load_run(tmp_path), cache, tmp_path, "run")
    early = model.collect(model.predict(cache.manifest.split("valid"))).after(3.0)
    assert early is not None
    np.testing.assert_allclose(run.predictions()[1], early[0], atol=1e-5)
    assert np.abs(run.predictions()[0] - early[0]).max() > 1e-4, "the whole is something else"


def test_other_settings_are_refused_with_the_difference(data: TrainingData, small: TrainConfig, tmp_path: Path) -> None:
    Run(tmp_path, small, data)
    with pytest.raises(OutputError, match=r"other settings \(rate = 0.01, not 0.5\)"):
        Run(tmp_path, replace(small, rate=0.5), data)
    with pytest.raises(OutputError, match="system = Scat-2L-32H-GRU, not Scat-2L-32H-LSTM"):
        Run(tmp_path, replace(small, system="Scat-2L-32H-LSTM"), data)


def test_runs_from_before_there_were_choices_mean_the_first_ones(
    data: TrainingData, small: TrainConfig, tmp_path: Path
) -> None:
    short = replace(small, epochs=1)
    next(Run(tmp_path, short, data).epochs())
    settings = json.loads((tmp_path / "config.json").read_text())
    older = {name: value for name, value in settings.items() if name not in ADDED}
    (tmp_path / "config.json").write_text(json.dumps(older))
    tensors, meta = load(tmp_path / "best.safetensors")
    save(tensors, {**meta, "config": older}, tmp_path / "best.safetensors")
    assert Run(tmp_path, short, data).epoch == 1
    assert load_run(tmp_path).config == short
    with pytest.raises(OutputError, match="reset_after = True, not False"):
        Run(tmp_path, replace(short, reset_after=False), data)


def test_clips_are_trimmed(cache: Cache, small: TrainConfig) -> None:
    """Those of 3 s, 12 frames, to 2 s."""
    whole, trimmed = (load_data(cache, config, 0, lambda: None) for config in (small, replace(small, trim_s=2.0)))
    assert {row.frames for passes in whole.training.rows for row in passes} == {12}
    for part in (trimmed.training, trimmed.valid):
        assert {row.frames for passes in part.rows for row in passes} == {8}
    assert not torch.equal(whole.normalize.mean, trimmed.normalize.mean)


def test_damaged_checkpoint_is_refused(data: TrainingData, small: TrainConfig, tmp_path: Path) -> None:
    next(Run(tmp_path, small, data).epochs())
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ManifestError, match="no training file"):
        Run(tmp_path, small, data)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(OutputError, match="cannot be read"):
        Run(tmp_path, small, data)


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "log.csv"])
def test_a_file_that_cannot_be_written_keeps_its_previous_content(
    name: str, data: TrainingData, small: TrainConfig, tmp_path: Path
) -> None:
    epochs = Run(tmp_path, small, data).epochs()
    next(epochs)
    before = (tmp_path / name).read_bytes()
    (tmp_path / f".{name}.part").mkdir()  # in the way of the temporary file
    with pytest.raises(OutputError, match=f"{name}: cannot be written"):
        next(epochs)
    assert (tmp_path / name).read_bytes() == before


def test_settings_are_written_completely_or_not_at_all(data: TrainingData, small: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / ".config.json.part").mkdir()
    with pytest.raises(OutputError, match=r"config\.json: cannot be written"):
        Run(tmp_path, small, data)
    assert not (tmp_path / "config.json").exists()


def test_validation_pools_as_the_settings_say(data: TrainingData, small: TrainConfig, tmp_path: Path) -> None:
    config = replace(small, precision="float32")
    mean, learned = (Run(tmp_path / name, replace(config, pooling=name), data) for name in ("mean", "learned"))
    last = Run(tmp_path / "last", replace(config, pooling="last"), data)
    np.testing.assert_array_equal(mean.predictions()[0], learned.predictions()[0])
    numbers, features = next(FrameLoader(data.valid, torch.device("cpu")).whole_clips(4))
    with torch.no_grad():
        last.network.eval()
        logits, _ = last.network(last.normalize(features), last.network.initial_state(len(numbers)))  # type: ignore[operator]
    found, early = last.predictions()
    np.testing.assert_allclose(found[numbers], torch.sigmoid(logits[:, -1]).numpy(), atol=1e-5)
    np.testing.assert_allclose(early[numbers], torch.sigmoid(logits[:, data.early_frames - 1]).numpy(), atol=1e-5)
    assert np.abs(found - mean.predictions()[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch", 2.5),
        ("dropout", 1.0),
        ("rate", 0.0),
        ("mixup", -0.1),
        ("compression", "sqrt"),
        ("schedule", "steps"),
        ("precision", "float16"),
        ("time_masks", 0.5),
        ("system", "Scat-5L-512H-RNN"),
        ("initialization", "zeros"),
        ("reset_after", 0),
        ("trim_s", -1.0),
    ],
)
def test_settings_are_checked(name: str, value: object) -> None:
    with pytest.raises(SpecError):
        TrainConfig(**{name: value})  # type: ignore[arg-type]
