"""Several processes train one model: the same as one process does, started as a user starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.conftest import Need
from tests.trainer.list_threads import TASKS
from trainer.features.cache import Cache
from trainer.train.checkpoint import load

SETTINGS = (
    "epochs=2 batch=16 rate=0.01 warmup=4 frames=10 ema=0.9 dropout=0 input_dropout=0.1 mixup=0.5 noise=0.1"
    " carry=0.5 cut=0.2 precision=float32"
)


@dataclass(frozen=True)
class Trained:
    """RUN, and how its processes ended."""

    out: Path
    result: subprocess.CompletedProcess[str]

    def weights(self) -> torch.Tensor:
        tensors, _ = load(self.out / "best.safetensors")
        return torch.cat([tensor.flatten() for name, tensor in sorted(tensors.items()) if name.startswith("network.")])


def train(tree: Path, cache: Cache, out: Path, start: list[str], *more: str) -> Trained:
    words = ["train", str(tree), "--out", str(out), "--cache", str(cache.root), "--passes", "1", "--threads", "1"]
    settings = [word for pair in SETTINGS.split() for word in ("--set", pair)]
    command = [sys.executable, *start, *words, "--system", "Scat-2L-32H-GRU", *settings, *more]
    limits = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[3]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=limits, cwd=root)
    return Trained(out, result)


@pytest.fixture(scope="module")
def one(tree: Path, cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tree, cache, tmp_path_factory.mktemp("one") / "run", ["-m", "trainer"])


@pytest.fixture(scope="module")
def two(tree: Path, cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two processes, which note their threads beside RUN."""
    folder = tmp_path_factory.mktemp("two")
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tests.trainer.list_threads"]
    return train(tree, cache, folder / "run", [*start, str(folder)])


@pytest.mark.slow
def test_two_processes_give_the_model_of_one(
    one: Trained, two: Trained, tree: Path, cache: Cache, tmp_path: Path
) -> None:
    for run in (one, two):
        assert run.result.returncode == 0, run.result.stderr
        assert len(run.result.stdout.splitlines()) == 1, "one of them speaks"
    torch.testing.assert_close(two.weights(), one.weights(), atol=2e-5, rtol=0)
    logs = [(run.out / "log.csv").read_text().splitlines() for run in (one, two)]
    assert len(logs[0]) == len(logs[1]) == 3
    for line, other in zip(logs[0][1:], logs[1][1:], strict=True):
        assert [float(v) for v in line.split(",")[:6]] == pytest.approx(
            [float(v) for v in other.split(",")[:6]], rel=1e-3
        )
    assert json.loads(one.result.stdout) == pytest.approx(json.loads(two.result.stdout))
    another = train(tree, cache, tmp_path / "other", ["-m", "trainer"], "--set", "seed=2")
    assert another.result.returncode == 0
    assert float((another.weights() - one.weights()).abs().max()) > 0.01, "another run is another model"


@pytest.mark.slow
def test_no_thread_of_the_group_or_the_progress_bar_outlives_its_work(two: Trained, need: Need) -> None:
    """A thread that asks for the interpreter while that ends can abort the process."""
    need("proc", TASKS.exists(), "system has no /proc")
    for rank in range(2):
        found = json.loads((two.out.parent / f"{rank}.json").read_text())
        assert [name for name in found["group"] if "gloo" in name], "what is looked for can be seen"
        assert not [name for name in found["interpreter"] if "gloo" in name]
        assert [name for name in found["interpreter"] if "Python's" in name] == ["Python's MainThread"]
