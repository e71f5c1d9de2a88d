"""Decoding whole clips, and lossy round trips."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from streamtag.errors import SourceError
from trainer.features.audio import decode, encode, reencode


def tone(hz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def strongest(samples: np.ndarray, rate: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


@pytest.mark.parametrize("codec", ["mp3", "opus"])
def test_round_trip_keeps_length_time_and_content(codec: str) -> None:
    rng = np.random.default_rng(0)
    samples = tone(440, 16000) * (rng.random(16000).cumsum() % 100 < 50)  # something with places in time
    back = reencode(samples.astype(np.float32), 16000, codec, 32000)
    assert back.shape == samples.shape
    assert np.corrcoef(samples, back)[0, 1] > 0.9
    assert np.corrcoef(np.roll(samples, 160), back)[0, 1] < 0.9  # ten milliseconds late would show


def test_other_rates_are_brought_to_ours(tmp_path: Path) -> None:
    path = tmp_path / "tone.mp3"
    encode(tone(1000, 44100, 2.0), 44100, "mp3", 64000, path)
    samples = decode(path, 16000)
    assert abs(len(samples) - 32000) < 2000
    assert abs(strongest(samples, 16000) - 1000) < 3


def test_what_is_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "text.mp3"
    path.write_text("no sound at all " * 100)
    with pytest.raises(SourceError, match=r"text\.mp3"):
        decode(path, 16000)
    with pytest.raises(SourceError, match="missing"):
        decode(tmp_path / "missing.mp3", 16000)
    with pytest.raises(SourceError):
        decode(io.BytesIO(b""), 16000)


def test_a_file_that_changes_its_format_on_the_way(tmp_path: Path) -> None:
    """MP3 frames stand alone: files of two rates joined are a file that a player plays."""
    one, two = tmp_path / "one.mp3", tmp_path / "two.mp3"
    encode(tone(500, 16000, 2.0), 16000, "mp3", 32000, one)
    encode(tone(2000, 22050, 3.0), 22050, "mp3", 32000, two)
    joined = io.BytesIO(one.read_bytes() + two.read_bytes())
    samples = decode(joined, 16000)
    assert abs(len(samples) - 5 * 16000) < 4000
    assert abs(strongest(samples[8000:24000], 16000) - 500) < 3
    assert abs(strongest(samples[48000:72000], 16000) - 2000) < 3
