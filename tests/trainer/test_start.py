"""A run begins with the weights of another run or of a model file, and keeps their normalization."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamtag.api import INCLUDED_MODELS
from streamtag.errors import ManifestError, ModelFileError
from streamtag.model.model_file import load_tagger
from trainer.features.cache import Cache
from trainer.run import BEST, load_run, save_run
from trainer.start import check_start, deepened, is_deeper, load_start
from trainer.systems.table import name_of, named
from trainer.train.checkpoint import load
from trainer.train.config import TrainConfig
from trainer.train.dataset import load_data
from trainer.train.loop import Run


def test_a_run_goes_on_from_the_best_weights_of_another(
    finished_run: Path, cache: Cache, small: TrainConfig, tmp_path: Path
) -> None:
    gentle = replace(small, epochs=1, rate=1e-9)
    start = load_start(str(finished_run))
    data = load_data(cache, gentle, 0, lambda: None, start)
    after = next(Run(tmp_path / "second", gentle, data, start=start).epochs())
    assert after.roc_auc == pytest.approx(start.best["roc_auc"], abs=1e-3)
    fresh = next(Run(tmp_path / "third", gentle, data).epochs())
    assert fresh.roc_auc < start.best["roc_auc"] - 0.01, "the best weights are better than fresh ones"


def test_the_normalization_of_the_weights_is_kept(
    finished_run: Path, cache: Cache, small: TrainConfig, tmp_path: Path
) -> None:
    """Other data than these have other constants: a shifted mean and twice the deviation."""
    first = load_run(finished_run)
    first.normalize.fit(first.normalize.mean + 1.0, 2.0 * first.normalize.std)
    save_run(tmp_path, first.network.state_dict(), first)
    config = replace(small, epochs=1)
    start = load_start(str(tmp_path))
    data = load_data(cache, config, 0, lambda: pytest.fail("read a clip"), start)
    list(Run(tmp_path / "second", config, data, start=start).epochs())
    tensors, _ = load(tmp_path / "second" / BEST)
    torch.testing.assert_close(tensors["normalization.mean"], first.normalize.mean)
    torch.testing.assert_close(tensors["normalization.std"], first.normalize.std)
    fitted = load_data(cache, config, 0, lambda: None)
    assert not torch.allclose(fitted.normalize.mean, data.normalize.mean)
    assert data.offsets == pytest.approx(fitted.offsets / 2), "a decibel is half as many deviations"


@pytest.mark.parametrize("name", INCLUDED_MODELS)
def test_an_included_model_starts_a_run(name: str) -> None:
    tagger = load_tagger(INCLUDED_MODELS[name])
    system = name_of("scattering", tagger.recurrent.spec)
    start = load_start(name)
    check_start(name, start, TrainConfig(system=system), tuple(tagger.tags))
    frames = torch.rand(2, 8, 374, generator=torch.Generator().manual_seed(1)) * 0.01
    with torch.inference_mode():
        expected = torch.sigmoid(tagger.head(tagger.recurrent(tagger.normalization(frames))))
    torch.testing.assert_close(start.predict_frames(frames), expected, atol=1e-5, rtol=0)
    assert not torch.allclose(start.predict_frames(2 * frames), expected, atol=1e-3)


def test_a_deeper_network_begins_with_nearly_the_same_predictions(finished_run: Path, cache: Cache) -> None:
    start = load_start(str(finished_run))
    deeper = deepened(start, "Scat-5L-32H-GRU")
    features = torch.from_numpy(np.stack([cache.read(0, clip.clip_id) for clip in cache.manifest.clips[:8]]))
    expected, found = start.predict_frames(features), deeper.predict_frames(features)
    later = slice(3, None)  # each layer takes a frame to reach 95 % of its state
    assert (found - expected)[:, later].abs().mean() < 0.03
    assert (found - expected.flip(0))[:, later].abs().mean() > 0.1, "clips differ by more"
    assert [name for name in deeper.network.state_dict() if name.startswith("layers.4.")]
    torch.testing.assert_close(deepened(start, "Scat-5L-32H-GRU").predict_frames(features), found)


def test_only_a_gru_with_more_layers_of_the_same_width_is_deeper() -> None:
    start = named("Scat-2L-32H-GRU")
    assert is_deeper(named("Scat-3L-32H-GRU"), start)
    others = ("Scat-2L-32H-GRU", "Scat-1L-32H-GRU", "Scat-3L-64H-GRU", "Scat-3L-32H-LSTM", "Mel-3L-32H-GRU-by-time")
    assert not any(is_deeper(named(name), start) for name in others)
    assert not is_deeper(replace(named("Scat-3L-32H-GRU"), reset_after=False), start)


def test_a_start_that_does_not_fit_is_refused(
    finished_run: Path, cache: Cache, small: TrainConfig, tmp_path: Path
) -> None:
    tags, start, name = cache.manifest.tags, load_start(str(finished_run)), "another run"
    check_start(name, start, small, tags)
    for config, message in (
        (replace(small, system="Scat-2L-33H-GRU"), "another network: Scat-2L-32H-GRU, not Scat-2L-33H-GRU"),
        (replace(small, system="Scat-2L-32H-LSTM"), "another network: Scat-2L-32H-GRU, not Scat-2L-32H-LSTM"),
        (replace(small, compression="none"), "another compression: log, not none"),
        (replace(small, reset_after=False), "another reset_after: True, not False"),
        (replace(small, divide_s1=True), "another divide_s1: False, not True"),
    ):
        with pytest.raises(ManifestError, match=message):
            check_start(name, start, config, tags)
    with pytest.raises(ManifestError, match="its tags are not those"):
        check_start(name, start, small, tags[::-1])
    with pytest.raises(ManifestError, match="no training file"):
        load_start(str(tmp_path))
    with pytest.raises(ModelFileError, match="no such model file"):
        load_start(str(tmp_path / "nowhere"))
