"""The whole way by the commands alone: download from a host here, prepare, train, evaluate, report, export, and tag
a file with the result."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamtag.model.batched import torch_threads
from streamtag.model.model_file import load_tagger
from tests.trainer.fake_host import FakeHost
from tests.trainer.synthetic_magnatagatune import TOP, SyntheticSet, publish, write_set
from trainer.cli import app

SETTINGS = (
    "epochs=12", "rate=0.01", "warmup=4", "batch=16", "frames=10", "ema=0.9", "dropout=0.1", "noise=0.05",
    "gain_db=2.0", "tilt_db=0.2", "ramp_s=0.5", "mixup=0.0", "path_masks=0",
)  # fmt: skip
SYSTEM = "Scat-1L-64H-GRU"
QUICK = ("--minutes", 5, "--draws", 200)


def run(*words: object) -> str:
    """Standard output of a command of the trainer, in this process."""
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, (done.exception, done.stderr)
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One core, so that all machines take the same way; the commands set how many are used."""
    with torch_threads(1):
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSet:
    return write_set(tmp_path_factory.mktemp("made") / "mtt", clips=440)


@pytest.fixture(scope="module")
def data(made: SyntheticSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Downloaded and prepared."""
    folder = tmp_path_factory.mktemp("fetched") / "magnatagatune"
    with FakeHost(publish(made, tmp_path_factory.mktemp("host") / "host")).open() as host:
        run("download", folder, "--base-url", host.url, "--accept-changes")
    run("prepare", folder, "--passes", 0, "--workers", 0)
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / SYSTEM
    settings = [word for pair in SETTINGS for word in ("--set", pair)]
    run("train", data, "--system", SYSTEM, "--out", folder, "--threads", 1, *settings)
    return folder


@pytest.mark.slow
def test_a_system_learns_the_rule_and_is_reported(
    made: SyntheticSet, data: Path, trained: Path, tmp_path: Path
) -> None:
    found: dict[str, Any] = json.loads(run("evaluate", trained, data, "--json", *QUICK, "--out", tmp_path / "figures"))
    assert (found["split"], found["clips"]) == ("test", len(made.split("test")))
    assert found["scores"]["mean"]["roc_auc"] > 0.95
    assert found["scores"]["mean"]["scored_tags"] == len(TOP)
    assert not found["comparable"]
    assert found["streaming"]["endless"]["minutes"] == [2, 5]
    assert found["streaming"]["heard"]["mean"][-1] > 0.95
    run("report", tmp_path / "figures", "--out", tmp_path / "report")
    page = (tmp_path / "report" / "report.md").read_text()
    assert f"| {SYSTEM} | " in page
    assert "do not compare with published ones" in page
    assert (tmp_path / "report" / "report.html").stat().st_size > 100_000


@pytest.mark.slow
def test_the_exported_model_tags_a_file(made: SyntheticSet, data: Path, trained: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    run("export", trained, model)
    tagger = load_tagger(model)
    assert tagger.tags == TOP
    assert tagger.card["scored_on"] == "valid"
    assert tagger.card["scores"]["all"]["roc_auc"] > 0.95
    first = TOP[0]  # is about high tones
    high = [clip for clip in made.split("test") if first in clip.tags][:4]
    low = [clip for clip in made.split("test") if first not in clip.tags][:4]
    paths = [data / clip.path for clip in (*high, *low)]
    command = [sys.executable, "-m", "streamtag.cli", "file", *map(str, paths), "--model", str(model), "--json"]
    done = subprocess.run([*command, "--tags", first], capture_output=True, text=True, check=True, timeout=120)
    messages = map(json.loads, done.stdout.splitlines())
    means = [message["summary"][first] for message in messages if message["type"] == "end"]
    assert len(means) == 8
    assert min(means[:4]) > max(means[4:])
