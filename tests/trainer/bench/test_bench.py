"""What the measuring counts and times: operations by hand, figures that fit together, work that is really done."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import Need
from trainer.bench import extraction, roofline, training
from trainer.systems import SYSTEMS, named

SAMPLES = 20 * 4096
ROOF = roofline.Roof(operations=1e12, bytes=1e10)


def test_operations_of_a_gru_are_two_a_weight_and_frame() -> None:
    hidden, inputs, outputs, frames = 8, 5, 3, 7
    weights = 3 * hidden * inputs + 3 * hidden * hidden + hidden * outputs
    assert roofline.operations(named("Scat-1L-8H-GRU"), inputs, outputs, frames) == 2 * weights * frames
    assert roofline.operations(named("Scat-1L-8H-LSTM"), inputs, outputs, frames) > 2 * weights * frames


def test_operations_of_a_convolution_by_hand() -> None:
    system = SYSTEMS["Scat-4L-CNN"]
    frames, inputs = 38, 120
    first = 2 * frames * inputs * 9 * 128  # 3 x 3 kernels, 128 channels, one input
    second = 2 * -(-frames // 3) * -(-inputs // 2) * 9 * 128 * 384
    total = roofline.operations(system, inputs, 50, frames)
    assert first + second < total < 3 * (first + second)


def test_what_reads_bands_takes_a_step_a_band() -> None:
    system = SYSTEMS["CQT-5L-512H-GRU"]
    once = roofline.operations(system, 1, 50, 1819)
    head = 2 * 256 * 50
    assert roofline.operations(system, 84, 50, 1819) == 84 * (once - head) + head


@pytest.mark.slow
@pytest.mark.parametrize("system", ["Scat-1L-8H-GRU", "Scat-1L-8H-LSTM"])
def test_training_figures_fit_together(system: str) -> None:
    found = training.training(system, "best", share=0.001, steps=2, device="cpu", samples=SAMPLES, roof=ROOF)
    assert found["clips_per_s"] > 0
    assert found["seconds_per_epoch"] * found["clips_per_s"] == pytest.approx(training.CLIPS)
    assert 0 < found["data_share"] < 1
    assert found["share_of_roof"] > 0
    assert found["operations_per_byte"] == found["operations_per_step"] / found["bytes_per_step"]
    assert found["parameters"] == named(system).parameters(374, 50)
    assert "gpu_mib" not in found


@pytest.mark.slow
def test_the_plain_loop_is_run_beside_ours() -> None:
    found = training.compare_with_plain_loop("Scat-1L-8H-GRU", share=0.001, steps=1, device="cpu", samples=SAMPLES)
    ratio = found["plain_seconds_per_epoch"] / found["seconds_per_epoch"]
    assert found["times_plain_loop"] == pytest.approx(ratio)
    assert found["hours_for_300_epochs"] == pytest.approx(found["seconds_per_epoch"] / 12)


@pytest.mark.slow
def test_kymatio_and_ours_are_timed_on_the_same_clips(need: Need) -> None:
    found = dict(extraction.extraction(2, 1, clip_s=2.0, fronts=("scattering",)))
    scattering = found["features: scattering, from MP3"]
    need("kymatio", "kymatio_loop_clips" in scattering, "kymatio does not import with this SciPy")
    assert scattering["clips"] == 2
    assert scattering["kymatio_loop_clips"] == 1
    assert scattering["times_kymatio_loop"] == scattering["clips_per_s"] / scattering["kymatio_loop_clips_per_s"]
    assert set(found) == {"features: scattering, from MP3", "the transform alone, one thread"}
    assert found["the transform alone, one thread"]["times_kymatio"] > 1
    assert torch.get_num_threads() == 1


def test_the_roof_is_measured_and_limits_the_slower_of_both() -> None:
    assert roofline.Roof(operations=100.0, bytes=10.0).seconds(1000, 10) == 10.0
    assert roofline.Roof(operations=100.0, bytes=10.0).seconds(10, 1000) == 100.0
    measured = roofline.roof("cpu", torch.float32, side=64, copied=2**12)
    assert min(measured.operations, measured.bytes) > 0
