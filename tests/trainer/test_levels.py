"""Louder and brighter sound moves features as it is said, measured on sound."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamtag.spec import NormalizationSpec
from trainer.features.frontends import frontend
from trainer.features.levels import level_offsets
from trainer.features.normalization import fit, normalizer

RATE = 16000


@pytest.mark.parametrize("name", ["scattering", "mel", "cqt"])
def test_ten_decibels_more_are_ten_times_the_offset(name: str) -> None:
    rng = np.random.default_rng(1)
    audio = torch.from_numpy((0.05 * rng.standard_normal(2 * RATE)).astype(np.float32))[None]
    front = frontend(name)
    normalize = normalizer(name, NormalizationSpec())
    frames = front.compute(audio)[0]
    fit(normalize, [frames.numpy()])
    inner = slice(len(frames) // 4, -len(frames) // 4)
    moved = normalize(front.compute(audio * 10**0.5)[0]) - normalize(frames)
    loud, _ = level_offsets(front, normalize.std.numpy(), "log")
    expected = torch.from_numpy(10 * loud)
    skipped = 1 if name == "scattering" else 0  # S0 of noise is next to nothing, and lies at the floor
    torch.testing.assert_close(
        moved[inner].mean(0)[skipped:] * normalize.std[skipped:],
        expected[skipped:] * normalize.std[skipped:],
        atol=0.02,
        rtol=0,
    )
    assert float(expected.max()) > 0.1


@pytest.mark.parametrize("name", ["scattering", "mel", "cqt"])
def test_tilt_leaves_one_kilohertz_and_follows_the_octaves(name: str) -> None:
    front = frontend(name)
    ones = np.ones(front.size, dtype=np.float32)
    loud, tilt = level_offsets(front, ones, "log")
    octaves = tilt / np.where(loud > 0, loud, 1.0)
    times = np.arange(2 * RATE) / RATE
    for hz in (250.0, 1000.0, 4000.0):
        tone = torch.from_numpy((0.1 * np.sin(2 * np.pi * hz * times)).astype(np.float32))[None]
        frames = front.compute(tone)[0]
        middle = frames[len(frames) // 2][: 71 if name == "scattering" else None]
        loudest = int(middle.argmax())
        assert octaves[loudest] == pytest.approx(np.log2(hz / 1000.0), abs=0.15)


def test_without_logarithms_loudness_is_no_sum() -> None:
    front = frontend("scattering")
    assert not level_offsets(front, np.ones(front.size, dtype=np.float32), "none").any()
