"""Lossy round trips, and files with unusual metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mutagen.flac import FLAC

from trainer.features.audio import decode, duration, encode, reencode


def tone(hz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("codec", ["mp3", "opus"])
def test_round_trip_keeps_length_time_and_content(codec: str) -> None:
    rng = np.random.default_rng(0)
    samples = tone(440, 16000) * (rng.random(16000).cumsum() % 100 < 50)  # something with places in time
    back = reencode(samples.astype(np.float32), 16000, codec, 32000)
    assert back.shape == samples.shape
    assert np.corrcoef(samples, back)[0, 1] > 0.9
    assert np.corrcoef(np.roll(samples, 160), back)[0, 1] < 0.9  # ten milliseconds late would show


def test_titles_may_have_any_bytes(tmp_path: Path) -> None:
    path = tmp_path / "old.flac"
    encode(tone(440, 16000), 16000, "flac", 0, path)
    tags = FLAC(path)
    tags["title"] = "Chanson"
    tags.save()
    path.write_bytes(path.read_bytes().replace(b"Chanson", b"Chans\x82n"))  # not UTF-8
    assert len(decode(path, 16000)) == 16000
    assert duration(path) == 1.0
