"""What the measuring counts and times: operations by hand, figures that fit together, work that is really done."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from tests.conftest import Need
from trainer.bench import clock, extraction, roofline, training
from trainer.systems import SYSTEMS, named


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with clock.torch_threads(1):
        yield


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The roof is measured on little, and clips are short."""
    monkeypatch.setattr(roofline, "SIDE", 128)
    monkeypatch.setattr(roofline, "COPIED", 2**16)
    monkeypatch.setattr(training, "SAMPLES", 20 * 4096)


def test_operations_of_a_gru_are_two_a_weight_and_frame() -> None:
    hidden, inputs, outputs, frames = 8, 5, 3, 7
    weights = 3 * hidden * inputs + 3 * hidden * hidden + hidden * outputs
    assert roofline.operations(named("Scat-1L-8H-GRU"), inputs, outputs, frames) == 2 * weights * frames
    assert roofline.operations(named("Scat-1L-8H-LSTM"), inputs, outputs, frames) > 2 * weights * frames


def test_operations_of_a_convolution_by_hand() -> None:
    system = SYSTEMS["Scat-4L-CNN"]
    frames, inputs = 114, 374
    first = 2 * frames * inputs * 9 * 128  # 3 x 3 kernels, 128 channels, one input
    second = 2 * -(-frames // 3) * -(-inputs // 2) * 9 * 128 * 384
    total = roofline.operations(system, inputs, 50, frames)
    assert first + second < total < 3 * (first + second)


def test_what_reads_bands_takes_a_step_a_band() -> None:
    system = SYSTEMS["CQT-5L-512H-GRU"]
    once = roofline.operations(system, 1, 50, 1819)
    head = 2 * 256 * 50
    assert roofline.operations(system, 84, 50, 1819) == 84 * (once - head) + head


def test_the_roof_is_the_slower_of_both() -> None:
    roof = roofline.Roof(operations=100.0, bytes=10.0)
    assert roof.ridge == 10.0
    assert roof.seconds(1000, 10) == 10.0
    assert roof.seconds(10, 1000) == 100.0


def test_a_longer_work_takes_longer() -> None:
    short, long = clock.medians([lambda: time.sleep(0.002), lambda: time.sleep(0.02)], repeats=3)
    assert 0.002 <= short < long
    assert long >= 0.02


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("system", ["Scat-1L-8H-GRU", "Scat-1L-8H-LSTM"])
def test_training_figures_fit_together(system: str) -> None:
    found = training.training(system, "best", share=0.001, steps=2, device="cpu")
    assert found["clips_per_s"] > 0
    assert found["seconds_per_epoch"] * found["clips_per_s"] == pytest.approx(training.CLIPS)
    assert 0 < found["data_share"] < 1
    assert found["share_of_roof"] > 0
    assert found["operations_per_byte"] == found["operations_per_step"] / found["bytes_per_step"]
    assert found["parameters"] == named(system).parameters(374, 50)
    assert "gpu_mib" not in found


@pytest.mark.usefixtures("tiny")
def test_the_plain_loop_is_run_beside_ours() -> None:
    found = training.compare_with_plain_loop("Scat-1L-8H-GRU", share=0.001, steps=1, device="cpu")
    ratio = found["plain_seconds_per_epoch"] / found["seconds_per_epoch"]
    assert found["times_plain_loop"] == pytest.approx(ratio)
    assert found["hours_for_300_epochs"] == pytest.approx(found["seconds_per_epoch"] / 12)


def test_random_clips_are_read_as_real_ones() -> None:
    with training.random_cache("mel", share=0.0001) as cache:
        assert len(cache.manifest.split("train")) == 64
        frames = cache.read(0, "3")
        assert frames.shape == (1819, 96)
        assert (frames != cache.read(0, "4")).any()


def test_kymatio_and_ours_are_timed_on_the_same_clips(monkeypatch: pytest.MonkeyPatch, need: Need) -> None:
    need("kymatio", extraction.has_kymatio(), "kymatio does not import with this SciPy")
    monkeypatch.setattr(extraction, "CLIP_S", 4.0)
    monkeypatch.setattr(extraction, "CUT_S", 4.0)
    found = dict(extraction.extraction(4, 2))
    scattering = found["features: scattering, from MP3"]
    assert scattering["clips"] == 4
    assert scattering["kymatio_loop_clips"] == 2
    assert scattering["times_kymatio_loop"] == scattering["clips_per_s"] / scattering["kymatio_loop_clips_per_s"]
    assert set(found) == {
        "features: scattering, from MP3", "features: mel, from MP3", "features: cqt, from MP3",
        "the transform alone, one thread",
    }  # fmt: skip
    assert found["the transform alone, one thread"]["times_kymatio"] > 1
    assert torch.get_num_threads() == 1
