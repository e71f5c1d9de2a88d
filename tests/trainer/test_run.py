"""A run's folder can be asked: whole clips, frame after frame, and for the parts of a model file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamtag.errors import ManifestError, SpecError
from streamtag.model import TaggerNetwork, where
from trainer.data.manifest import Manifest
from trainer.features.cache import Cache
from trainer.run import BEST, TrainedSystem, load_run, save_run
from trainer.systems import RecurrentState
from trainer.train.checkpoint import load, save
from trainer.train.config import TrainConfig
from trainer.train.dataset import TrainingData, load_data
from trainer.train.loop import Run

STREAMING = ["Scat-2L-16H-GRU", "Scat-2L-16H-LSTM", "Scat-2L-16H-BN-LSTM"]


@pytest.fixture(scope="module")
def data(cache: Cache, small: TrainConfig) -> TrainingData:
    return load_data(cache, small, 0, lambda: None)


@pytest.fixture(scope="module")
def run(data: TrainingData, small: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of short runs, by system."""
    folders = {}
    for name in STREAMING:
        folders[name] = tmp_path_factory.mktemp("runs") / name
        for _ in Run(folders[name], replace(small, system=name, epochs=6, carry=0.0), data).epochs():
            pass
    return folders


def features(cache: Cache, clips: int = 3) -> torch.Tensor:
    names = [cache.manifest.clips[i].clip_id for i in cache.manifest.split("valid")[:clips]]
    return torch.from_numpy(np.stack([cache.read(0, name) for name in names]))


@pytest.mark.parametrize("name", STREAMING)
def test_frame_by_frame_outputs_equal_whole_clips(name: str, run: dict[str, Path], cache: Cache) -> None:
    trained = load_run(run[name])
    assert trained.system.reads_frames
    x = features(cache)
    whole = trained.predict_frames(x)
    assert whole.shape == (3, x.shape[1], 3)
    assert float(whole.min()) > 0.0
    assert float(whole.max()) < 1.0
    state, outputs = trained.initial_state(3), []
    for frame in torch.split(x, 1, dim=1):
        y, state = trained.step(frame, state)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, dim=1), whole, atol=1e-5, rtol=0)
    again, _ = trained.step(x, state)
    assert not torch.allclose(again, whole, atol=1e-4), "what was heard before matters"
    assert isinstance(state, RecurrentState)
    fresh: RecurrentState = where(torch.tensor([True, True, True]), trained.initial_state(3), state)  # type: ignore[assignment]
    torch.testing.assert_close(trained.step(x, fresh)[0], whole, atol=1e-6, rtol=0)


def test_whole_clip_systems_refuse_to_stream(
    data: TrainingData, small: TrainConfig, cache: Cache, tmp_path: Path
) -> None:
    config = replace(small, system="Scat-4L-CNN", carry=0.0, cut=0.0)
    network = config.plan.build(374, 3)
    made = TrainedSystem(config, data.tags, data.normalize, network, {"epoch": 1, "roc_auc": 0.5})
    save_run(tmp_path, network.state_dict(), made)
    trained = load_run(tmp_path)
    assert trained.predict_frames(features(cache)).shape == (3, 1, 3)
    for ask in (lambda: trained.initial_state(1), lambda: trained.step(features(cache), torch.zeros(3, 0))):
        with pytest.raises(SpecError, match="Scat-4L-CNN: hears a clip as a whole"):
            ask()


def tagger(trained: TrainedSystem, manifest: Manifest) -> TaggerNetwork:
    return TaggerNetwork(*trained.model_parts(), manifest.tags, (0.5,) * 3, {})


@pytest.mark.parametrize("name", STREAMING)
def test_the_model_computes_what_the_trained_network_did(
    name: str, run: dict[str, Path], cache: Cache, manifest: Manifest
) -> None:
    trained = load_run(run[name])
    core = tagger(trained, manifest)
    x = features(cache)
    with torch.no_grad():
        played = torch.sigmoid(core.head(core.recurrent(core.normalization(x))))
    torch.testing.assert_close(played, trained.predict_frames(x), atol=1e-5, rtol=0)
    next(core.recurrent.parameters()).data.add_(0.1)
    with torch.no_grad():
        other = torch.sigmoid(core.head(core.recurrent(core.normalization(x))))
    assert not torch.allclose(other, played, atol=1e-4)


def test_folders_without_a_run_are_refused(run: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no training file"):
        load_run(tmp_path)
    tensors, meta = load(run["Scat-2L-16H-GRU"] / BEST)
    save(tensors, {**meta, "tags": ["one"]}, tmp_path / BEST)
    with pytest.raises(ManifestError, match="another network"):
        load_run(tmp_path)
    save(tensors, {"config": meta["config"]}, tmp_path / BEST)
    with pytest.raises(ManifestError, match="no finished run"):
        load_run(tmp_path)
    save(tensors, {**meta, "config": {**meta["config"], "colour": 1}}, tmp_path / BEST)
    with pytest.raises(ManifestError, match="colour"):
        load_run(tmp_path)
    with pytest.raises(ManifestError, match="another network"):
        load_run(run["Scat-2L-16H-GRU"], [run["Scat-2L-16H-LSTM"]])
