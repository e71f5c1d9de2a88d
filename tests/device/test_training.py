"""Training on every device learns from the same batches, with gradients that are those of the CPU in float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.device.conftest import DeviceTagger
from trainer.bench.training import random_data
from trainer.train.batches import Batch
from trainer.train.config import TrainConfig
from trainer.train.loop import Run
from trainer.train.recipes import recipe

pytestmark = pytest.mark.slow  # on the CPU, tests of model, inference and trainer show the same
SAMPLES = 40 * 4096
# Nothing at random that depends on the device: neither noise nor dropout between the layers
CONFIG = replace(recipe("best", "Scat-2L-64H-GRU"), epochs=2, noise=0.0, dropout=0.0, batch=16, frames=20)


def open_run(folder: Path, config: TrainConfig, device: torch.device | str) -> Run:
    return Run(folder, config, random_data(config, 0.001, SAMPLES), device)


def first_batches(run: Run) -> list[Batch]:
    return [batch for batch, _ in zip(run.batches.epoch(1), range(3), strict=False)]


def gradients(run: Run, batch: Batch) -> Tensor:
    run.train_step(batch, None)
    found = [weight.grad.flatten().cpu() for weight in run.network.parameters() if weight.grad is not None]
    return torch.cat(found)


def test_batches(tagger: DeviceTagger, tmp_path: Path) -> None:
    """On a GPU each is prepared on a second stream while the one before is used."""
    ours, theirs = open_run(tmp_path / "ours", CONFIG, tagger.device), open_run(tmp_path / "theirs", CONFIG, "cpu")
    found, expected = first_batches(ours), first_batches(theirs)
    assert len(found) == len(expected) == 3
    for batch, other in zip(found, expected, strict=True):
        torch.testing.assert_close(batch.x.cpu(), other.x, atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(batch.y.cpu(), other.y)
        torch.testing.assert_close(batch.weight.cpu(), other.weight)
        assert torch.equal(batch.fresh.cpu(), other.fresh)
    assert float((expected[0].x - expected[1].x).abs().mean()) > 0.1, "batches differ"


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 4e-2)])
@pytest.mark.parametrize("cell", ["GRU", "LSTM"])
def test_gradients(tagger: DeviceTagger, tmp_path: Path, cell: str, precision: str, tolerance: float) -> None:
    """Long sequences have gradients of a millionth, which half precision rounds to nothing."""
    exact = replace(CONFIG, system=f"Scat-2L-64H-{cell}", precision="float32")
    ours = open_run(tmp_path / "ours", replace(exact, precision=precision), tagger.device)
    theirs = open_run(tmp_path / "theirs", exact, "cpu")
    batch, other = first_batches(theirs)[:2]
    expected = gradients(theirs, batch)
    moved = replace(batch, **{name: getattr(batch, name).to(tagger.device) for name in ("x", "y", "weight", "fresh")})
    found = gradients(ours, moved)
    assert float((found - expected).norm() / expected.norm()) < tolerance
    third = gradients(open_run(tmp_path / "other", exact, "cpu"), other)
    assert float((third - expected).norm() / expected.norm()) > 2 * tolerance, "another batch has others"


def test_a_run_and_its_validation(tagger: DeviceTagger, tmp_path: Path) -> None:
    """Epochs with all that is random, a checkpoint, and the same scores after it was read again."""
    config = replace(CONFIG, noise=0.2, dropout=0.3)
    first = open_run(tmp_path, config, tagger.device)
    epochs = list(first.epochs())
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert epochs[1].loss < epochs[0].loss
    again = open_run(tmp_path, config, tagger.device)
    assert again.has_finished
    torch.testing.assert_close(torch.from_numpy(again.predictions()[0]), torch.from_numpy(first.predictions()[0]))
