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
from typer.testing import CliRunner

from streamtag.model.batched import torch_threads
from tests.conftest import Need
from tests.trainer.list_threads import TASKS
from trainer.cli import app
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
    code: int
    stdout: str
    stderr: str

    def weights(self) -> torch.Tensor:
        tensors, _ = load(self.out / "best.safetensors")
        return torch.cat([tensor.flatten() for name, tensor in sorted(tensors.items()) if name.startswith("network.")])


def words_of(tree: Path, cache: Cache, out: Path) -> list[str]:
    words = ["train", str(tree), "--out", str(out), "--cache", str(cache.root), "--passes", "1", "--threads", "1"]
    settings = [word for pair in SETTINGS.split() for word in ("--set", pair)]
    return [*words, "--system", "Scat-2L-32H-GRU", *settings]


def train_here(tree: Path, cache: Cache, out: Path, *more: str) -> Trained:
    with torch_threads(1):
        done = CliRunner().invoke(app, [*words_of(tree, cache, out), *more])
    return Trained(out, done.exit_code, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def one(tree: Path, cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_here(tree, cache, tmp_path_factory.mktemp("one") / "run")


@pytest.fixture(scope="module")
def two(tree: Path, cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two processes, which note their threads beside RUN."""
    folder = tmp_path_factory.mktemp("two")
    out, root = folder / "run", Path(__file__).parents[3]
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tests.trainer.list_threads"]
    command = [sys.executable, *start, str(folder), *words_of(tree, cache, out)]
    limits = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=limits, cwd=root)
    return Trained(out, done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_two_processes_give_the_model_of_one(
    one: Trained, two: Trained, tree: Path, cache: Cache, tmp_path: Path
) -> None:
    for run in (one, two):
        assert run.code == 0, run.stderr
        assert len(run.stdout.splitlines()) == 1, "one of them speaks"
    torch.testing.assert_close(two.weights(), one.weights(), atol=2e-5, rtol=0)
    logs = [(run.out / "log.csv").read_text().splitlines() for run in (one, two)]
    assert len(logs[0]) == len(logs[1]) == 3
    for line, other in zip(logs[0][1:], logs[1][1:], strict=True):
        assert [float(v) for v in line.split(",")[:6]] == pytest.approx(
            [float(v) for v in other.split(",")[:6]], rel=1e-3
        )
    assert json.loads(one.stdout) == pytest.approx(json.loads(two.stdout))
    another = train_here(tree, cache, tmp_path / "other", "--set", "seed=2")
    assert another.code == 0
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
