"""Several processes train one model: the same as one process does, started as a user starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from streamtag.errors import DeviceError
from trainer.checkpoint import load
from trainer.features import Cache
from trainer.processes import Group, open_device

SETTINGS = (
    "epochs=2 batch=16 rate=0.01 warmup=4 frames=10 ema=0.9 dropout=0 input_dropout=0.1 mixup=0.5 noise=0.1"
    " carry=0.5 cut=0.2 precision=float32"
)


def train(tree: Path, cache: Cache, out: Path, processes: int, *more: str) -> subprocess.CompletedProcess[str]:
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    words = ["train", str(tree), "--out", str(out), "--cache", str(cache.root), "--passes", "1", "--threads", "1"]
    settings = [word for pair in SETTINGS.split() for word in ("--set", pair)]
    command = [sys.executable, *start, "-m", "trainer", *words, "--system", "Scat-2L-32H-GRU", *settings, *more]
    limits = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=limits)


def weights(out: Path) -> torch.Tensor:
    tensors, _ = load(out / "best.safetensors")
    return torch.cat([tensor.flatten() for name, tensor in sorted(tensors.items()) if name.startswith("network.")])


def test_two_processes_give_the_model_of_one(tree: Path, cache: Cache, tmp_path: Path) -> None:
    outs = {processes: tmp_path / str(processes) for processes in (1, 2)}
    results = {processes: train(tree, cache, out, processes) for processes, out in outs.items()}
    for result in results.values():
        assert result.returncode == 0, result.stderr
        assert len(result.stdout.splitlines()) == 1, "one of them speaks"
    one, two = weights(outs[1]), weights(outs[2])
    torch.testing.assert_close(two, one, atol=2e-5, rtol=0)
    logs = [(out / "log.csv").read_text().splitlines() for out in outs.values()]
    assert len(logs[0]) == len(logs[1]) == 3
    for line, other in zip(logs[0][1:], logs[1][1:], strict=True):
        assert [float(v) for v in line.split(",")[:6]] == pytest.approx(
            [float(v) for v in other.split(",")[:6]], rel=1e-3
        )
    assert json.loads(results[1].stdout) == pytest.approx(json.loads(results[2].stdout))
    assert train(tree, cache, tmp_path / "other", 1, "--set", "seed=2").returncode == 0
    assert float((weights(tmp_path / "other") - one).abs().max()) > 0.01, "another run is another model"


def test_a_device_that_is_not_there() -> None:
    assert open_device("cpu").type == "cpu"
    with pytest.raises(DeviceError, match="tpu"):
        open_device("tpu")
    if not torch.cuda.is_available():
        assert open_device("auto").type == "cpu"
        with pytest.raises(DeviceError, match="no GPU"):
            open_device("cuda")


def test_alone_there_is_nobody_to_wait_for() -> None:
    group = Group()
    group.wait()
    assert group.first
    assert float(group.sum(torch.ones(()))) == float(group.agree(torch.ones(()))) == 1.0
