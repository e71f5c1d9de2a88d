"""The whole way by the commands alone: download from a host here, prepare, train two systems, evaluate, report,
export, and tag a file with the result. A rule that is in the sound is learned; labels dealt by chance are not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamtag.model.model_file import load_tagger
from tests.trainer.fake_host import FakeHost
from tests.trainer.synthetic_magnatagatune import TOP, SyntheticSet, deal, publish, write_set
from trainer.bench.clock import torch_threads
from trainer.cli import app

SETTINGS = (
    "epochs=12", "rate=0.01", "warmup=4", "batch=16", "frames=10", "ema=0.9", "dropout=0.1", "noise=0.05",
    "gain_db=2.0", "tilt_db=0.2", "ramp_s=0.5", "mixup=0.0", "path_masks=0",
)  # fmt: skip
SYSTEMS = ("Scat-1L-64H-GRU", "Scat-1L-64H-LSTM")
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


def train(data: Path, out: Path, system: str) -> None:
    settings = [word for pair in SETTINGS for word in ("--set", pair)]
    run("train", data, "--system", system, "--out", out, "--threads", 1, *settings)


def evaluated(what: Path, data: Path, *words: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("evaluate", what, data, "--json", *QUICK, *words))
    return found


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
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    folder = tmp_path_factory.mktemp("runs")
    for system in SYSTEMS:
        train(data, folder / system, system)
    return [folder / system for system in SYSTEMS]


@pytest.mark.slow
def test_two_systems_learn_the_rule_and_are_reported(
    made: SyntheticSet, data: Path, runs: Sequence[Path], tmp_path: Path
) -> None:
    for folder in runs:
        found = evaluated(folder, data, "--out", tmp_path / folder.name)
        assert (found["split"], found["clips"]) == ("test", len(made.split("test")))
        assert found["scores"]["mean"]["roc_auc"] > 0.95
        assert found["scores"]["mean"]["scored_tags"] == len(TOP)
        assert not found["comparable"]
        assert found["streaming"]["endless"]["minutes"] == [2, 5]
        assert found["streaming"]["heard"]["mean"][-1] > 0.95
    run("report", *(tmp_path / folder.name for folder in runs), "--out", tmp_path / "both")
    page = (tmp_path / "both" / "report.md").read_text()
    assert all(f"| {system} | " in page for system in SYSTEMS)
    assert "do not compare with published ones" in page
    assert (tmp_path / "both" / "report.html").stat().st_size > 100_000


@pytest.mark.slow
def test_the_exported_model_tags_a_file(made: SyntheticSet, data: Path, runs: Sequence[Path], tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    run("export", runs[0], model)
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


@pytest.mark.slow
def test_labels_dealt_by_chance_are_not_learned(made: SyntheticSet, data: Path, tmp_path: Path) -> None:
    """Of the same sounds and their features."""
    dealt = tmp_path / "magnatagatune"
    shutil.copytree(data, dealt)
    deal(made, dealt)
    train(dealt, tmp_path / "run", SYSTEMS[0])
    found = evaluated(tmp_path / "run", dealt, "--minutes", 0)
    assert found["scores"]["mean"]["roc_auc"] == pytest.approx(0.5, abs=0.08)
