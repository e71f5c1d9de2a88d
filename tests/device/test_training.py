"""Training on every device learns from the same batches, with gradients that are those of the CPU in float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from streamtag.model.cuda_graphs import CudaGraphs
from tests.device.conftest import DeviceTagger
from tests.model.fake_capture import FakeCapture
from trainer.bench.training import random_data
from trainer.systems.wavefront import Wavefront, make_cells
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


@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
def test_all_layers_at_once(tagger: DeviceTagger, kind: torch.dtype, tolerance: float) -> None:
    """Outputs, last states and gradients, with dropout between the layers: on a GPU by Triton's kernels in a graph."""

    def results(device: torch.device, kind: torch.dtype) -> list[Tensor]:
        torch.manual_seed(1)
        layers = [torch.nn.GRU(40 if not n else 64, 64) for n in range(3)]
        x, states, y_gradient = torch.randn(6, 30, 40), torch.randn(6, 3, 64), torch.randn(6, 30, 64)
        kept = (torch.rand(3, 6, 64) > 0.3) / 0.7
        capture = CudaGraphs(device) if device.type == "cuda" else FakeCapture()
        moved = [layer.to(device) for layer in layers]
        waves = Wavefront(moved, (6, 30), kind, make_cells(device), capture)
        for _ in range(2):  # the second time, nothing of the first may be left
            y, last, number = waves.forward(x.to(device), states.to(device), kept.to(device))
            gradients = waves.backward(y_gradient.to(device), number)
        return [each.float().cpu() for each in (y, last, *gradients)]

    expected = results(torch.device("cpu"), torch.float32)
    for found, wanted in zip(results(tagger.device, kind), expected, strict=True):
        assert float((found - wanted).norm() / wanted.norm()) < tolerance


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
