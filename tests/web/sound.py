"""Sounds of which no moment is like another, and how much of one is in another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate

Sound = NDArray[np.float64]


def make_sound(seed: int, seconds: float, rate: int = 44100) -> Sound:
    """-> [n], within ±1: tones that change every eighth of a second, and noise below 4 kHz."""
    random = np.random.default_rng(seed)
    count = round(seconds * rate)
    pitch = np.repeat(random.uniform(150, 2500, int(8 * seconds) + 1), rate // 8)[:count]
    loudness = np.repeat(random.uniform(0.1, 1, int(8 * seconds) + 1), rate // 8)[:count]
    pitch, loudness = (np.pad(track, (0, count - len(track)), "edge") for track in (pitch, loudness))
    spectrum = np.fft.rfft(random.standard_normal(count))
    spectrum[np.fft.rfftfreq(count, 1 / rate) > 4000] = 0
    noise = np.fft.irfft(spectrum, count)
    sound: Sound = 0.3 * loudness * np.sin(2 * np.pi * np.cumsum(pitch) / rate) + 0.1 * noise / np.abs(noise).max()
    return sound


def correlation(part: Sound, whole: Sound) -> float:
    """The highest correlation of `part` [n] with any stretch of its length of `whole` [m], n <= m."""
    part = part - part.mean()
    products = correlate(whole, part, mode="valid", method="fft")
    sums, squares = (np.concatenate(([0], np.cumsum(whole**power))) for power in (1, 2))
    count = len(part)
    spread = squares[count:] - squares[:-count] - (sums[count:] - sums[:-count]) ** 2 / count
    found = products / (np.sqrt(np.maximum(spread, 1e-12)) * np.linalg.norm(part))
    return float(found.max())
