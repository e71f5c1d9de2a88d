"""The whole way on the command line: prepare, train, evaluate, export; and mistakes as one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streamtag.model.model_file import load_tagger
from tests.trainer.conftest import Command
from trainer import cli
from trainer.features.cache import Cache
from trainer.run import load_run
from trainer.train.config import TrainConfig, with_settings

SETTINGS = "epochs=10 batch=16 rate=0.01 warmup=4 frames=10 ema=0.9 dropout=0.1 ramp_s=0.5 noise=0.05"


def test_from_a_folder_to_a_packed_file_to_a_run(tree: Path, cache: Cache, tmp_path: Path, run: Command) -> None:
    packed = tmp_path / "packed"
    code, _, err = run("prepare", tree, "--cache", cache.root, "--pack", packed)
    assert code == 0
    assert "packed: 96 of 96 clips, " in err
    assert "standard deviations of a feature" in err
    settings = [word for pair in SETTINGS.split() for word in ("--set", pair)]
    words = ("train", packed, "--threads", 1, "--out", tmp_path / "run")
    code, result, _ = run(*words, "--system", "Scat-2L-32H-GRU", *settings)
    assert code == 0
    assert json.loads(result)["roc_auc"] > 0.7
    code, _, err = run(*words, "--system", "Mel-1L-8H-GRU-by-time")
    assert (code, "holds scattering features" in err) == (2, True)
    code, _, err = run("prepare", tree, "--cache", cache.root, "--front", "mel", "--pack", packed)
    assert (code, "only scattering features can be packed" in err) == (2, True)


@pytest.mark.usefixtures("no_plots")
def test_from_a_folder_to_a_model(tree: Path, cache: Cache, tmp_path: Path, run: Command) -> None:
    features, out, model = cache.root, tmp_path / "run", tmp_path / "model.safetensors"
    card = tmp_path / "card.json"
    card.write_text(json.dumps({"name": "tones", "licence": "CC0-1.0"}))
    assert run("prepare", tree, "--cache", features, "--passes", 1)[0] == 0  # all of it is there
    settings = [word for pair in SETTINGS.split() for word in ("--set", pair)]
    words = ("train", tree, "--cache", features, "--threads", 1, "--out", out, *settings)
    first = (*words, "--system", "Scat-2L-32H-GRU")
    code, result, _ = run(*first, "--passes", 1)
    assert code == 0
    assert json.loads(result)["roc_auc"] > 0.7
    code, _, err = run(*first, "--passes", 0)
    assert code == 1
    assert "was begun with passes = 1, not 0" in err
    code, table, _ = run("export", out, model, "--card", card)
    assert code == 0
    assert "high tone" in table
    code, result, _ = run(
        "evaluate", model, tree, "--json", "--minutes", 2, "--draws", 50, "--out", tmp_path / "figures"
    )
    assert code == 0
    figures = json.loads(result)
    assert run("report", tmp_path / "figures", "--out", tmp_path / "report")[0] == 0
    assert "do not compare with published ones" in (tmp_path / "report" / "report.md").read_text()
    assert figures["tags"]["high tone"]["roc_auc"] > 0.8
    assert set(figures["parts"]) == {"all", "even", "odd"}
    assert [figures["streaming"][change]["clips"] for change in ("song_change", "cross_fade")] == [32, 32]
    tagger = load_tagger(model)
    assert tagger.tags == ("high tone", "noisy", "coin")
    assert len(set(tagger.thresholds)) > 1
    assert tagger.card["name"] == "tones"
    assert tagger.card["licence"] == "CC0-1.0"
    assert tagger.card["clips"] == {"train": 64, "valid": 32}
    words = (*words, "--passes", 1, "--out", tmp_path / "tuned", "--set", "epochs=1")
    code, result, _ = run(*words, "--start", model)
    assert code == 0
    assert json.loads(result)["roc_auc"] > 0.7
    assert load_run(tmp_path / "tuned").config.system == "Scat-2L-32H-GRU", "that of the start"
    code, _, err = run(*words, "--system", "Scat-2L-32H-GRU")
    assert code == 1
    assert f"was begun with start = {model}, not None" in err
    assert tagger.card["scores"]["all"]["roc_auc"] == pytest.approx(figures["parts"]["all"]["roc_auc"], abs=0.02)


def test_help_documents_the_format(run: Command) -> None:
    code, text, _ = run("--help")
    assert code == 0
    assert "targets.npz" in text
    assert "clips.csv" in text


@pytest.mark.parametrize("command", ["", *cli.COMMANDS])
def test_help_fits_80_columns(run: Command, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # a wide terminal makes it no wider
    code, text, _ = run(*command.split(), "--help")
    assert code == 0
    assert max(map(len, text.splitlines())) in range(60, 81)
    assert "<" not in text  # the library's names of types


def test_settings() -> None:
    config = with_settings(TrainConfig(noise=0.5), ["epochs=3", "rate=0.5", "compression=none"])
    assert config == TrainConfig(epochs=3, rate=0.5, compression="none", noise=0.5)
    assert with_settings(config, ["reset_after=false", "divide_s1=True"]).reset_after is False


def test_help_brings_nothing_slow() -> None:
    """Whoever asks what there is should not wait for torch."""
    slow = "{'torch', 'sklearn', 'rich', 'matplotlib', 'av', 'scipy'}"
    words = f"import sys, trainer.cli; print(sorted({slow} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"


def test_a_package_that_is_missing_is_one_line(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "rich.console", None)
        line = "trainer: rich.console is missing: pip install 'streamtag[train]'\n"
        assert run("evaluate", "run", "clips") == (1, "", line)
    # the control: a defect of ours is none of that
    monkeypatch.setitem(sys.modules, "trainer.evaluate.evaluated_model", None)
    with pytest.raises(ModuleNotFoundError):
        run("evaluate", "run", "clips")


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ("trian x", 2, "trainer: trian: no such command; did you mean train?"),
        ("train", 2, "trainer train: FOLDER is missing"),
        ("train x --out y --set rate", 2, "trainer train: --set rate: not NAME=VALUE with"),
        ("train x --out y --set hiden=3", 2, "trainer train: --set hiden=3: not NAME=VALUE with"),
        ("train x --out y --set epochs=many", 2, "trainer train: --set epochs=many: "),
        ("train x --out y --seed q", 2, "trainer train: --seed q: must be a whole number"),
        ("train x --out y --system Scat-5L-GRU", 2, ".*python -m trainer systems"),
        ("train x --out y --recipe good", 2, ".*paper, best"),
        ("train x --out y --device tpu", 2, ".*auto, cpu, cuda"),
        ("prepare nowhere", 1, "trainer: nowhere: no such folder"),
        ("train {tree} --cache c --out r", 1, "trainer: .*prepare"),
        ("export nowhere m", 1, "trainer: .*data.json"),
        ("evaluate nowhere {tree}", 1, "trainer: .*nowhere"),
    ],
)
def test_mistakes_are_one_line_and_wrong_usage_has_a_hint(
    words: str, code: int, line: str, tree: Path, tmp_path: Path, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = run(*words.format(tree=tree).split())
    assert (found, out) == (code, "")
    first, *hint = [line for line in err.splitlines() if line.startswith(("trainer", "try", "Traceback"))]
    assert re.match(line, first)
    command = "" if words.startswith("trian") else f"{words.split()[0]} "
    assert hint == ([f"try: python -m trainer {command}--help"] if code == 2 else [])
