"""Front ends: sizes, times and levels. tests/model/test_spectrogram compares their values with other code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamtag.spec import CqtSpec, NormalizationSpec
from trainer.features.frontends import FRONTENDS, fit, frontend, level_offsets, normalizer

SECONDS_29 = 464_000  # samples: what the paper trims its clips to


def tone(hz: float, samples: int = 32000) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hz * torch.arange(samples) / 16000)[None]


@pytest.mark.parametrize(("name", "size", "frames"), [("scattering", 374, 114), ("mel", 96, 1813), ("cqt", 84, 1813)])
def test_a_clip_has_the_frames_of_the_paper(name: str, size: int, frames: int) -> None:
    front = frontend(name)
    torch.manual_seed(0)
    found = front.compute(torch.randn(1, SECONDS_29) * 0.1)
    assert found.shape == (1, frames, size)
    assert front.size == size
    assert front.frame_count(SECONDS_29) == frames
    assert front.hop_s * frames == pytest.approx(29.0, abs=front.hop_s)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("name", FRONTENDS)
def test_frames_do_not_depend_on_padding_or_mixup_partners(name: str) -> None:
    front = frontend(name)
    torch.manual_seed(0)
    audio = torch.randn(3, 20_000) * 0.1
    alone = front.compute(audio[:1, :17_001])
    audio[0, 17_001:] = 0
    torch.testing.assert_close(front.compute(audio)[:1, : front.frame_count(17_001)], alone, rtol=0, atol=1e-5)
    audio[0, 17_001:] = 0.5
    assert (front.compute(audio)[:1, : front.frame_count(17_001)] - alone).abs().max() > 1e-3


def test_cqt_bins_are_semitones_from_c1_on_with_equal_gain() -> None:
    spec, front = CqtSpec(), frontend("cqt")
    levels = []
    for number in (12, 40, 57, 75):
        frames = front.compute(tone(spec.lowest_hz * 2 ** (number / 12)))[0, 40:-40]
        assert frames.mean(0).argmax() == number
        levels.append(float(frames.mean(0).max() - 0.5 * np.log(2 ** (-number / 12))))
    assert (
        max(levels) - min(levels) < 0.05
    )  # librosa's convention: amplitude grows with the root of the filter's length
    assert front.compute(tone(440.0))[0, 40:-40].mean(0).argmax() == 45


@pytest.mark.parametrize("name", FRONTENDS)
def test_ten_decibels_more_are_ten_times_the_level_offset(name: str) -> None:
    audio = torch.from_numpy((0.05 * np.random.default_rng(1).standard_normal(32000)).astype(np.float32))[None]
    front = frontend(name)
    normalize = normalizer(name, NormalizationSpec())
    frames = front.compute(audio)[0]
    fit(normalize, [frames.numpy()])
    inner = slice(len(frames) // 4, -len(frames) // 4)
    moved = (normalize(front.compute(audio * 10**0.5)[0]) - normalize(frames))[inner].mean(0)
    loudness, _ = level_offsets(front, normalize.std.numpy(), NormalizationSpec())
    first = 1 if name == "scattering" else 0  # S0 of noise is next to zero, at the floor
    expected = torch.from_numpy(10 * loudness) * normalize.std
    torch.testing.assert_close((moved * normalize.std)[first:], expected[first:], atol=0.02, rtol=0)
    assert float(expected.max()) > 0.1


@pytest.mark.parametrize("name", FRONTENDS)
def test_tilt_offsets_are_zero_at_one_kilohertz_and_follow_the_octaves(name: str) -> None:
    front = frontend(name)
    loudness, tilt = level_offsets(front, np.ones(front.size, dtype=np.float32), NormalizationSpec())
    octaves = tilt / np.where(loudness > 0, loudness, 1.0)
    for hz in (250.0, 1000.0, 4000.0):
        frames = front.compute(tone(hz))[0]
        loudest = int(frames[len(frames) // 2][: 71 if name == "scattering" else None].argmax())
        assert octaves[loudest] == pytest.approx(np.log2(hz / 1000.0), abs=0.15)
    if name == "scattering":
        assert not level_offsets(front, np.ones(front.size, dtype=np.float32), NormalizationSpec("none")).any()
