"""`python -m trainer human` and `folds`, on real sound, with a model file and with runs of folds."""

from __future__ import annotations

import json
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

import streamtag
from streamtag.model.model_file import load_tagger, save_tagger
from tests.trainer.conftest import Command
from trainer import export
from trainer.data.manifest import Manifest
from trainer.human.folds import artist_folds, artists_of
from trainer.human.predictions import open_sound_model, predict_tracks
from trainer.human.tracks import read_tracks
from trainer.run import DataSource


@pytest.fixture(scope="module")
def runs(finished_run: Path, track_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs, one for each fold; they have the same weights."""
    root = tmp_path_factory.mktemp("runs")
    folds = artist_folds(read_tracks(track_folder), 3)
    folders = [root / f"run-{fold}" for fold in range(3)]
    for fold, folder in enumerate(folders):
        shutil.copytree(finished_run, folder)
        DataSource("data", "scattering", 1, 0, left_out=artists_of(folds, fold)).write(folder)
    return folders


@pytest.fixture(scope="module")
def model(runs: list[Path], manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "tones.safetensors"
    save_tagger(export.build(runs[0], manifest, {}), file)
    return file


def test_a_track_is_heard_as_the_product_hears_its_file(model: Path, track_folder: Path) -> None:
    tracks = read_tracks(track_folder).tracks[:3]
    heard = []
    predictions = predict_tracks(open_sound_model(model, torch.device("cpu")), tracks, lambda: heard.append(1))
    assert len(heard) == 3
    tagger = streamtag.load(model, "cpu")
    means = predictions.mean()
    for index, track in enumerate(tracks):
        result = tagger.tag(track.path)
        assert predictions.count[index] == len(result.probs)
        np.testing.assert_allclose(means[index], list(result.summary.values()), atol=0.02)  # the incremental transform
    assert np.abs(means[0] - means[1]).max() > 0.1, "other tracks are heard otherwise"


def test_models_are_scored_beside_each_other(
    runs: list[Path], model: Path, track_folder: Path, tmp_path: Path, run: Command
) -> None:
    out = tmp_path / "figures.json"
    code, table, _ = run("human", runs[0], model, "--tracks", track_folder, "--out", out, "--threads", 1)
    assert code == 0
    assert "high tone" in table
    by_run, by_file = json.loads(out.read_text())["models"]
    assert (by_run["model"], by_file["model"]) == ("run-0", "tones")
    assert by_run["tags"]["high_tone"]["roc_auc"] > 0.9, "it has learned this"
    assert by_run["roc_auc"] == pytest.approx(by_file["roc_auc"], abs=0.02)
    assert by_run["unknown_tags"] == ["cowbell"]


def test_folds_are_written_and_scored_out_of_fold(
    runs: list[Path], track_folder: Path, tmp_path: Path, run: Command
) -> None:
    code, printed, _ = run("folds", "--tracks", track_folder, "--out", tmp_path, "--folds", 3)
    assert code == 0
    assert printed.count("8 of them with human tags") == 3
    lists = [(tmp_path / f"fold-{fold}.txt").read_text().splitlines() for fold in (1, 2, 3)]
    assert sorted(chain.from_iterable(lists)) == sorted(f"artist {n}" for n in range(12))
    words = ("--tracks", track_folder, "--folds", "--threads", 1)
    code, printed, _ = run("human", *runs, *words, "--json")
    assert code == 0
    (found,) = json.loads(printed)
    assert (found["tracks"], found["folds"], found["left_out_checked"]) == (24, ["run-0", "run-1", "run-2"], True)
    together = json.loads(run("human", runs[0], "--tracks", track_folder, "--threads", 1, "--json")[1])[0]
    assert found["tags"] == together["tags"], "the folds' models are one and the same here"
    assert found["heard"] == together["heard"]
    code, _, err = run("human", runs[1], runs[0], runs[2], *words)
    assert code == 1
    assert "run-1: learned from 4 artists that it must not know" in err, "the runs are in the wrong order"


def test_people_calibrate_the_concepts_of_an_exported_model(
    runs: list[Path], tree: Path, track_folder: Path, tmp_path: Path, run: Command
) -> None:
    file = tmp_path / "model.safetensors"
    words = ("export", runs[0], file, "--data", tree, "--tracks", track_folder)
    folds = [word for run in runs for word in ("--fold", run)]
    code, printed, err = run(*words, *folds)
    assert (code, err.count("Traceback")) == (0, 0), err
    assert "concepts" in printed
    network = load_tagger(file)
    high = next(concept for concept in network.concepts if concept.name == "high tone")
    assert high.threshold is not None
    card = network.card["per_concept"]["high tone"]
    assert (card["against"], card["human_positives"]) == ("people", 12)
    assert network.card["human_tags_out_of_fold"]["tracks"] == 24
    code, _, err = run(*words)
    assert code == 2
    assert "--tracks needs one --fold RUN for each fold" in err
