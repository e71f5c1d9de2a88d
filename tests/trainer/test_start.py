"""A run begins with the weights of another run or of a model file, and keeps their normalization."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamtag.api import SHIPPED_MODEL
from streamtag.errors import ManifestError, ModelFileError
from streamtag.model.model_file import load_tagger
from trainer.features.cache import Cache
from trainer.run import BEST, load_run, save_run
from trainer.start import load_start
from trainer.train.checkpoint import load
from trainer.train.config import TrainConfig
from trainer.train.dataset import load_data
from trainer.train.loop import Run


def test_a_run_goes_on_from_the_best_weights_of_another(
    finished_run: Path, cache: Cache, small: TrainConfig, tmp_path: Path
) -> None:
    gentle = replace(small, epochs=1, rate=1e-9)
    start = load_start(str(finished_run), gentle, cache.manifest.tags)
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
    start = load_start(str(tmp_path), config, cache.manifest.tags)
    data = load_data(cache, config, 0, lambda: pytest.fail("read a clip"), start)
    list(Run(tmp_path / "second", config, data, start=start).epochs())
    tensors, _ = load(tmp_path / "second" / BEST)
    torch.testing.assert_close(tensors["normalization.mean"], first.normalize.mean)
    torch.testing.assert_close(tensors["normalization.std"], first.normalize.std)
    fitted = load_data(cache, config, 0, lambda: None)
    assert not torch.allclose(fitted.normalize.mean, data.normalize.mean)
    assert data.offsets == pytest.approx(fitted.offsets / 2), "a decibel is half as many deviations"


def test_the_shipped_model_starts_a_run() -> None:
    tagger = load_tagger(SHIPPED_MODEL)
    start = load_start("shipped", TrainConfig(), tuple(tagger.tags))
    frames = torch.rand(2, 8, 374, generator=torch.Generator().manual_seed(1)) * 0.01
    with torch.inference_mode():
        expected = torch.sigmoid(tagger.head(tagger.recurrent(tagger.normalization(frames))))
    torch.testing.assert_close(start.predict_frames(frames), expected, atol=1e-5, rtol=0)
    assert not torch.allclose(start.predict_frames(2 * frames), expected, atol=1e-3)


def test_a_start_that_does_not_fit_is_refused(
    finished_run: Path, cache: Cache, small: TrainConfig, tmp_path: Path
) -> None:
    tags = cache.manifest.tags
    for config, message in (
        (replace(small, system="Scat-2L-33H-GRU"), "another network: Scat-2L-32H-GRU, not Scat-2L-33H-GRU"),
        (replace(small, system="Scat-2L-32H-LSTM"), "another network: Scat-2L-32H-GRU, not Scat-2L-32H-LSTM"),
        (replace(small, compression="none"), "another compression: log, not none"),
        (replace(small, reset_after=False), "another reset_after: True, not False"),
        (replace(small, divide_s1=True), "another divide_s1: False, not True"),
    ):
        with pytest.raises(ManifestError, match=message):
            load_start(str(finished_run), config, tags)
    with pytest.raises(ManifestError, match="its tags are not those"):
        load_start(str(finished_run), small, tags[::-1])
    with pytest.raises(ManifestError, match="no training file"):
        load_start(str(tmp_path), small, tags)
    with pytest.raises(ModelFileError, match="no such model file"):
        load_start(str(tmp_path / "nowhere"), small, tags)
