"""Decoding whole clips, and lossy round trips."""

from __future__ import annotations

import io
import wave
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


def test_damaged_packets_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "tone.mp3"
    encode(tone(1000, 16000, 4.0), 16000, "mp3", 32000, path)
    content = bytearray(path.read_bytes())
    start = content.index(content[-144:-141], len(content) // 2)  # the sync word and what follows of a frame's head
    content[start + 4 : start + 100] = bytes(96)
    samples = decode(io.BytesIO(bytes(content)), 16000)
    assert len(samples) > 3.7 * 16000
    assert abs(strongest(samples[:24000], 16000) - 1000) < 3
    assert abs(strongest(samples[40000:60000], 16000) - 1000) < 3


@pytest.mark.parametrize("channels", [1, 2])
def test_channels_are_averaged_whatever_the_format(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "tone.wav"
    left = np.round(tone(440, 16000) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, 16000, 0, "NONE", "NONE"))
        file.writeframes(np.stack([left, left // 2][:channels], axis=1).tobytes())
    expected = left / 32768 if channels == 1 else (left + left // 2) / 2 / 32768
    np.testing.assert_allclose(decode(path, 16000), expected, atol=1e-6)
