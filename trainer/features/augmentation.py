"""The same music, heard differently: changes of the audio under which its tags should stay the same.

A recipe is drawn once per clip and pass from seeded chance, and applied as pure functions of samples and
chance. What moves time (start, speed) or mixes clips is kept in the recipe, since the targets have to
follow.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import fft

from streamtag.errors import SourceError
from trainer.features.audio import Samples, reencode

VERSION = 1  # of everything in this file that changes samples; caches made with another one are refused

Rng = np.random.Generator


@dataclass(frozen=True)
class AudioAugmentation:
    """What happens to one clip in one pass; the defaults change nothing.

    start_s: seconds cut off at the beginning. speed: playback speed, pitch follows. partner: clip_id of a
    second clip, heard at `partner_db` decibels relative to this one. tilt_db: of the spectrum, per octave.
    low_hz, high_hz: band edges. bells: centre (Hz), width (octaves), gain (dB). reverb_s: time to fall by
    60 dB; wet: its level. drive: of the soft clipping. noise_db: signal to noise ratio; colour: 0 white, 1
    pink. codec, bit_rate: a lossy round trip. gain_db: at the end.
    """

    start_s: float = 0.0
    speed: float = 1.0
    partner: str | None = None
    partner_db: float = 0.0
    tilt_db: float = 0.0
    low_hz: float | None = None
    high_hz: float | None = None
    bells: tuple[tuple[float, float, float], ...] = ()
    reverb_s: float | None = None
    wet: float = 0.0
    drive: float | None = None
    noise_db: float | None = None
    colour: float = 0.0
    codec: str | None = None
    bit_rate: int = 32000
    gain_db: float = 0.0

    @property
    def share(self) -> float:
        """The part of this clip in the mixture's amplitude, 1 without a partner."""
        return 1.0 if self.partner is None else float(1.0 / (1.0 + 10.0 ** (self.partner_db / 20.0)))


def chance(seed: int, passage: int, clip_id: str) -> Rng:
    """The randomness of one clip in one pass."""
    return np.random.default_rng([seed, passage, zlib.crc32(clip_id.encode())])


def draw(rng: Rng, others: Sequence[str]) -> AudioAugmentation:
    """A random recipe; `others` are the clips that may be mixed in."""

    def uniform(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def maybe(probability: float, low: float, high: float) -> float | None:
        value = uniform(low, high)
        return value if rng.random() < probability else None

    mixed = rng.random() < 0.2 and len(others) > 0
    bells = tuple(
        (float(np.exp(rng.uniform(np.log(80), np.log(6000)))), uniform(0.3, 1.5), float(rng.normal(0, 4)))
        for _ in range(int(rng.integers(0, 4)))
    )
    codec = [None, "mp3", "opus"][int(rng.choice(3, p=[0.86, 0.07, 0.07]))]
    return AudioAugmentation(
        start_s=uniform(0.0, 2.0),
        speed=float(2.0 ** (np.clip(rng.normal(0, 1.5), -4, 4) / 12.0)),
        partner=others[int(rng.integers(len(others)))] if mixed else None,
        partner_db=uniform(-15.0, 0.0),
        tilt_db=float(rng.normal(0, 1.2)),
        low_hz=maybe(0.2, 40.0, 300.0),
        high_hz=maybe(0.25, 2000.0, 7000.0),
        bells=bells,
        reverb_s=maybe(0.25, 0.15, 1.5),
        wet=uniform(0.1, 0.6),
        drive=maybe(0.15, 1.0, 6.0),
        noise_db=maybe(0.35, 15.0, 45.0),
        colour=uniform(0.0, 1.0),
        codec=codec,
        bit_rate=int(rng.choice([12000, 16000, 24000, 32000])) if codec == "opus" else int(rng.choice([24000, 32000])),
        gain_db=uniform(-14.0, 4.0),
    )


def apply(recipe: AudioAugmentation, samples: Samples, partner: Samples | None, rng: Rng, sample_rate: int) -> Samples:
    """[T] -> [about (T - start) / speed]. `partner`: the samples of the recipe's partner, any length.

    A codec that this FFmpeg does not have is left out.
    """
    y = samples[round(recipe.start_s * sample_rate) :]
    if recipe.speed != 1.0:
        y = soxr.resample(y, sample_rate, sample_rate / recipe.speed)
    if recipe.partner is not None and partner is not None:
        y = _mixed(y, partner, recipe.partner_db)
    y = _filtered(y, recipe, rng, sample_rate)
    if recipe.drive is not None:
        y = _driven(y, recipe.drive)
    if recipe.noise_db is not None:
        level = np.float32(_rms(y) * 10.0 ** (-recipe.noise_db / 20.0))
        y = y + _noise(len(y), recipe.colour, rng) * level
    if recipe.codec is not None:
        peak = np.float32(max(1.0, float(np.abs(y).max(initial=0.0))))
        with suppress(SourceError):
            y = reencode(y / peak, sample_rate, recipe.codec, recipe.bit_rate) * peak
    gain = 10.0 ** (recipe.gain_db / 20.0)
    loudest = float(np.abs(y).max(initial=0.0)) * gain
    if loudest > 1.0 and recipe != AudioAugmentation():
        gain /= loudest  # no clipping: a distorted song has other tags
    return np.asarray(y * np.float32(gain), dtype=np.float32)


def _rms(y: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(y, dtype=np.float64)))) if len(y) else 0.0


def _mixed(y: Samples, partner: Samples, partner_db: float) -> Samples:
    """The partner, repeated or cut to this length, at its level relative to `y`."""
    other = np.resize(partner, len(y))
    level = _rms(y) / max(_rms(other), 1e-6) * 10.0 ** (partner_db / 20.0)
    return np.asarray(y + other * np.float32(level), dtype=np.float32)


def _filtered(y: Samples, recipe: AudioAugmentation, rng: Rng, sample_rate: int) -> Samples:
    """Tilt, band edges, bells and reverb as one multiplication of the spectrum; level kept."""
    plain = not (recipe.tilt_db or recipe.bells or recipe.low_hz or recipe.high_hz or recipe.reverb_s)
    if plain or not len(y):
        return y
    tail = round((recipe.reverb_s or 0.25) * sample_rate)
    size = fft.next_fast_len(len(y) + tail, real=True)
    hz = np.maximum(fft.rfftfreq(size, 1.0 / sample_rate), 20.0).astype(np.float32)
    octave = np.log2(hz / 1000.0)
    gain_db = recipe.tilt_db * octave
    for centre, width, gain in recipe.bells:
        gain_db += gain * np.exp(-0.5 * ((octave - np.log2(centre / 1000.0)) / width) ** 2)
    response = 10.0 ** (np.clip(gain_db, -40.0, 20.0) / 20.0)
    if recipe.low_hz:
        response /= np.sqrt(1.0 + (recipe.low_hz / hz) ** 4)
    if recipe.high_hz:
        response /= np.sqrt(1.0 + (hz / recipe.high_hz) ** 8)
    if recipe.reverb_s:
        room = rng.standard_normal(tail, dtype=np.float32) * 10.0 ** (-3.0 * np.arange(tail, dtype=np.float32) / tail)
        room *= recipe.wet / max(float(np.sqrt(np.sum(room**2))), 1e-9)
        room[0] += 1.0
        response = response * fft.rfft(room.astype(np.float32), size)
    z = fft.irfft(fft.rfft(y, size) * response, size)[: len(y)]
    return np.asarray(z * (_rms(y) / max(_rms(z), 1e-9)), dtype=np.float32)


def _driven(y: Samples, drive: float) -> Samples:
    """Soft clipping of a signal `drive` times its peak-to-unity level; level kept."""
    peak = max(float(np.abs(y).max(initial=0.0)), 1e-6)
    z = np.tanh(y * (drive / peak))
    return np.asarray(z * (_rms(y) / max(_rms(z), 1e-9)), dtype=np.float32)


def _noise(length: int, colour: float, rng: Rng) -> NDArray[np.float32]:
    """Noise of unit level with a power spectrum of 1 / f^colour."""
    white = rng.standard_normal(length, dtype=np.float32)
    if not length:
        return white
    size = fft.next_fast_len(length, real=True)
    spectrum = fft.rfft(white, size)
    spectrum[1:] *= np.arange(1, len(spectrum), dtype=np.float32) ** np.float32(-0.5 * colour)
    shaped = fft.irfft(spectrum, size)[:length]
    return np.asarray(shaped / max(_rms(shaped), 1e-9), dtype=np.float32)
