"""From runs to a model: the best weights of one, or their mean with those of the runs that began with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import streamtag
from streamtag.errors import ManifestError
from streamtag.model import TaggerNetwork
from streamtag.model.model_file import load_tagger, save_tagger
from trainer import export
from trainer.data.manifest import Manifest
from trainer.evaluate.evaluated_model import decodable, open_model
from trainer.evaluate.figures import Options, evaluate
from trainer.evaluate.song_change import predict_across
from trainer.features.cache import Cache
from trainer.features.extraction import prepare
from trainer.features.frontends import normalizer
from trainer.run import TrainedSystem, load_run
from trainer.start import check_start, load_start
from trainer.systems import SYSTEMS
from trainer.train.checkpoint import load, save
from trainer.train.config import TrainConfig
from trainer.train.dataset import load_data
from trainer.train.loop import Run


@pytest.fixture(scope="module")
def later_run(finished_run: Path, cache: Cache, small: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that began with the weights of `finished_run`."""
    folder = tmp_path_factory.mktemp("runs") / "later"
    config = replace(small, epochs=1, rate=2 * small.rate)
    list(Run(folder, config, load_data(cache, config, 0, lambda: None), start=load_run(finished_run)).epochs())
    return folder


def test_later_runs_are_averaged_in(
    finished_run: Path, later_run: Path, manifest: Manifest, small: TrainConfig
) -> None:
    tagger = export.build(finished_run, manifest, {}, [later_run])
    best, _ = load(finished_run / "best.safetensors")
    last, _ = load(later_run / "checkpoint.safetensors")
    expected = (best["network.head.weight"] + last["average.head.weight"]) / 2
    torch.testing.assert_close(tagger.head.weight, expected)
    assert not torch.allclose(best["network.head.weight"], expected, atol=1e-6), "the two do differ"
    assert tagger.card["averaged_with"] == [{"epochs": 1, "rate": 2 * small.rate}]


def test_runs_of_other_tags_or_normalization_are_not_averaged_in(
    finished_run: Path, later_run: Path, manifest: Manifest, tmp_path: Path
) -> None:
    tensors, meta = load(later_run / "best.safetensors")
    mean = "normalization.mean"
    for changed, words, message in (
        ({}, {"tags": meta["tags"][::-1]}, "its tags are not those of .*finished run"),
        ({mean: tensors[mean] + 0.1}, {}, "its normalization is not that of .*finished run"),
        ({}, {"config": {**meta["config"], "compression": "none"}}, "its normalization is not that of .*finished run"),
        ({}, {"config": {**meta["config"], "reset_after": False}}, "its weights are of another network"),
    ):
        save({**tensors, **changed}, {**meta, **words}, tmp_path / "best.safetensors")
        with pytest.raises(ManifestError, match=message):
            export.build(finished_run, manifest, {}, [tmp_path])


MINIATURES = {  # of systems that read whole clips
    "CNN": replace(SYSTEMS["Scat-4L-CNN"], channels=(4, 8), blocks=((9, 3), (8, 4)), hidden=8, layers=2, carried=1),
    "mel CNN": replace(SYSTEMS["Mel-4L-CNN"], channels=(4, 8), blocks=((8, 12), (4, 6)), hidden=8, layers=2, carried=2),
    "mel GRU": replace(SYSTEMS["Mel-5L-512H-GRU"], inputs=90, layers=2, hidden=8),
    "CQT LSTM": replace(SYSTEMS["CQT-5L-512H-LSTM"], inputs=90, layers=1, hidden=8),
}
AS_PRINTED = {"reset_after": False, "divide_s1": True, "compression": "none", "initialization": "tensorflow"}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Scat-1L-8H-GRU", AS_PRINTED),
        *((name, {}) for name in ("Scat-1L-8H-LSTM", "Scat-1L-8H-BN-LSTM", "Mel-1L-8H-GRU-by-time", "CNN")),
        ("CQT-1L-8H-LSTM-by-time", {}),
        pytest.param("mel GRU", {"reset_after": False}, marks=pytest.mark.slow),
        *(pytest.param(name, {}, marks=pytest.mark.slow) for name in MINIATURES if name != "CNN"),
    ],
)
def test_every_system_is_trained_exported_and_run(
    name: str,
    settings: dict[str, Any],
    cache: Cache,
    manifest: Manifest,
    small: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name in MINIATURES:
        monkeypatch.setitem(SYSTEMS, name, replace(MINIATURES[name], name=name))
    config = replace(small, epochs=1, system=name, carry=0.0, cut=0.0, **settings)
    if config.plan.front != "scattering":  # fewer clips, whose features have to be computed
        manifest = manifest.without({clip.clip_id for n, clip in enumerate(manifest.clips) if n % 8 > 2})
        cache = Cache(tmp_path / "cache", manifest, config.plan.front, seed=1)
        list(prepare(cache, passes=0, workers=0))
    for _ in Run(tmp_path / "run", config, load_data(cache, config, 0, lambda: None)).epochs():
        pass
    path = tmp_path / "model.safetensors"
    tagger = export.build(tmp_path / "run", manifest, {})
    save_tagger(tagger, path)
    evaluated, _ = open_model(path, manifest, cache.root, 1, torch.device("cpu"))
    clips = manifest.split("valid")[:2]
    frames = list(evaluated.predict(clips))
    for clip, expected in zip(clips, frames, strict=True):
        found = streamtag.load(path, "cpu").tag(manifest.clips[clip].path)
        np.testing.assert_allclose(found.probs, expected, atol=1e-4)
    of_run, _ = open_model(tmp_path / "run", manifest, cache.root, 1, torch.device("cpu"))
    if config.plan.reads_frames:
        scores = [model.collect(model.predict(clips)).mean() for model in (evaluated, of_run)]
        np.testing.assert_allclose(scores[0], scores[1], atol=0.05)  # half precision and a finite look-ahead
        across = [model.collect(predict_across(model, clips, clips[::-1])) for model in (evaluated, of_run)]
        np.testing.assert_allclose(across[0].mean(), across[1].mean(), atol=0.05)
        assert abs(across[0].input_s[-1] - across[1].input_s[-1]) < 0.5, "both begin with the cross-fade"
    first = load_run(tmp_path / "run").to("cpu")
    features = torch.from_numpy(cache.read(0, manifest.clips[0].clip_id))[None]
    if config.plan.reads_frames:
        whole = first.predict_frames(features)
        y, state = first.step(features[:, :5], first.initial_state(1))
        z, _ = first.step(features[:, 5:], state)
        with torch.no_grad():
            played = torch.sigmoid(tagger.head(tagger.recurrent(tagger.normalization(features))))
        for other in (torch.cat([y, z], dim=1), played):
            torch.testing.assert_close(other, whole, atol=1e-5, rtol=0)
        assert not torch.allclose(first.step(features, state)[0], whole, atol=1e-4), "what was heard before matters"
    if config.plan.cell != "BN-LSTM":  # whose statistics are folded in
        start = load_start(str(path))
        check_start(str(path), start, config, manifest.tags)
        torch.testing.assert_close(start.predict_frames(features), first.predict_frames(features), atol=5e-3, rtol=0)


@pytest.mark.parametrize("name", MINIATURES)
def test_a_model_file_computes_for_a_stream_what_the_run_computes_for_the_clip_so_far(
    name: str, manifest: Manifest, small: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SYSTEMS, name, replace(MINIATURES[name], name=name))
    config = replace(small, system=name, carry=0.0, cut=0.0)
    torch.manual_seed(2)
    normalize = normalizer(config.plan.front, config.normalization)
    network = config.plan.build(normalize.size, len(manifest.tags)).eval()
    for key, tensor in network.state_dict().items():
        if "running_var" in key:
            tensor.uniform_(0.5, 1.5)
        elif "running_mean" in key:
            tensor.uniform_(-0.1, 0.1)
    made = TrainedSystem(config, manifest.tags, normalize, network, {"epoch": 1, "roc_auc": 0.5})
    tagger = TaggerNetwork(*made.model_parts(), manifest.tags, (0.5,) * 3, {})
    spec = tagger.recurrent.spec
    hop, heard = tagger.spec.frames_per_hop, tagger.spec.first_frame % tagger.spec.frames_per_hop
    x = torch.randn(2, (spec.window // hop + 12) * hop, normalize.size).abs()
    with torch.no_grad():
        y = torch.sigmoid(tagger.head(tagger.recurrent(normalize(x))))
    for end in (heard + hop, heard + 8 * hop, heard + (spec.window // hop // 4 + 2) * 4 * hop):
        if end > spec.window and config.plan.cell == "CNN":
            continue  # the window begins with a column of its carried stages, with the frames before it
        clip = x[:, max(0, end - spec.window) : end]
        torch.testing.assert_close(y[:, end - 1], made.predict_frames(clip)[:, 0], atol=1e-5, rtol=0)
    assert (y[:, -1] - y[:, hop + heard]).abs().max() > 1e-4


def test_its_card_has_thresholds_and_figures(
    finished_run: Path, manifest: Manifest, cache: Cache, tmp_path: Path
) -> None:
    tagger = export.build(finished_run, manifest, {"licence": "CC0-1.0"})
    model, _ = open_model(finished_run, manifest, cache.root, 1, torch.device("cpu"))
    result, predictions = evaluate(model, manifest, "valid", Options(draws=10, minutes=()))
    fits = export.fit(tagger, manifest, "valid", predictions)
    finished = export.finish(tagger, manifest, predictions.mean(), result, fits)
    assert finished.card["licence"] == "CC0-1.0"
    assert finished.card["scored_on"] == "valid"
    assert finished.card["per_tag"]["noisy"]["roc_auc"] == result["tags"]["noisy"]["roc_auc"]
    assert set(finished.thresholds) != {0.5}
    assert [concept.name for concept in finished.concepts] == ["high tone", "noisy", "coin"]
    assert {concept.scale for concept in finished.concepts} != {1.0}
    assert set(finished.card["per_concept"]["noisy"]) >= {"positives", "roc_auc_lower", "ece", "against"}
    path = tmp_path / "model.safetensors"
    save_tagger(finished, path)
    assert load_tagger(path).concepts == finished.concepts


def test_rendered_clips_alone_do_not_calibrate_concepts(finished_run: Path, manifest: Manifest, cache: Cache) -> None:
    rendered = replace(manifest, clips=tuple(replace(clip, kind="rendered") for clip in manifest.clips))
    model, _ = open_model(finished_run, manifest, cache.root, 1, torch.device("cpu"))
    predictions = model.collect(model.predict(manifest.split("valid")))
    with pytest.raises(ManifestError, match="has rendered clips only"):
        export.fit(export.build(finished_run, manifest, {}), rendered, "valid", predictions)


def test_a_clip_that_does_not_decode_is_left_out_with_a_note(manifest: Manifest, tmp_path: Path) -> None:
    assert decodable(manifest) is manifest
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"")
    number = int(manifest.split("valid")[0])
    clips = list(manifest.clips)
    clips[number] = replace(clips[number], path=broken)
    found = decodable(replace(manifest, clips=tuple(clips)))
    assert len(found.split("valid")) == len(manifest.split("valid")) - 1
    assert found.notes[-1] == f"left out: {clips[number].clip_id}: their sound does not decode"
