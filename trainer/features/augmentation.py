"""Augmentation of audio: changes under which the tags of the music should stay the same.

An `AudioAugmentation` is drawn once per clip and pass from a seeded generator, and applied as a pure function of the
samples and a generator. It records what moves time (start, speed) or mixes clips, since the targets have to follow.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from streamtag.errors import SourceError

Samples = NDArray[np.float32]

MIN_KEPT_S = 1.0  # of a clip, however late it starts
VERSION = 1  # of what changes clips of 3 s and more; caches of other versions are refused

Rng = np.random.Generator


@dataclass(frozen=True)
class AudioAugmentation:
    """The changes of one clip in one pass; the defaults change nothing.

    At most `start_s` seconds are cut off at the beginning. `speed` is the playback speed, which moves the pitch too.
    `partner` is the clip_id of a second clip, mixed in at `partner_db` relative to this one. `tilt_db` tilts the
    spectrum, per octave; `low_hz` and `high_hz` are band edges; `bells` have a centre (Hz), width (octaves) and gain
    (dB). The reverb falls by 60 dB in `reverb_s`, at the level `wet`. `drive` belongs to the soft clipping, `noise_db`
    is the signal-to-noise ratio, `colour` 0 for white and 1 for pink noise. `codec` and `bit_rate` are those of a lossy
    round trip. `gain_db` comes last.
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
        """Return the share of this clip in the mixture's amplitude, 1 without a partner."""
        return 1.0 if self.partner is None else float(1.0 / (1.0 + 10.0 ** (self.partner_db / 20.0)))


def generator(seed: int, number: int, clip_id: str) -> Rng:
    """Return the random generator of one clip in one pass."""
    return np.random.default_rng([seed, number, zlib.crc32(clip_id.encode())])


def draw(rng: Rng, others: Sequence[str]) -> AudioAugmentation:
    """Return a random augmentation; `others` are the clips that may be mixed in."""

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


def apply(change: AudioAugmentation, samples: Samples, partner: Samples | None, rng: Rng, sample_rate: int) -> Samples:
    """Change samples [T] -> [about (T - start) / speed]. `partner` holds the partner's samples, of any length.

    At least MIN_KEPT_S of the clip remain after the start. A codec that this FFmpeg lacks is left out.
    """
    cut = min(round(change.start_s * sample_rate), max(0, len(samples) - round(MIN_KEPT_S * sample_rate)))
    y = samples[cut:]
    if change.speed != 1.0:
        import soxr  # late: training on finished features needs no sound

        y = soxr.resample(y, sample_rate, sample_rate / change.speed)
    if change.partner is not None and partner is not None:
        y = _mix(y, partner, change.partner_db)
    y = _filter(y, change, rng, sample_rate)
    if change.drive is not None:
        y = _clip_softly(y, change.drive)
    if change.noise_db is not None:
        level = np.float32(_rms(y) * 10.0 ** (-change.noise_db / 20.0))
        y = y + _noise(len(y), change.colour, rng) * level
    if change.codec is not None:
        from trainer.features.audio import reencode  # late, as above

        peak = np.float32(max(1.0, float(np.abs(y).max(initial=0.0))))
        with suppress(SourceError):
            y = reencode(y / peak, sample_rate, change.codec, change.bit_rate) * peak
    gain = 10.0 ** (change.gain_db / 20.0)
    loudest = float(np.abs(y).max(initial=0.0)) * gain
    if loudest > 1.0 and change != AudioAugmentation():
        gain /= loudest  # no clipping: it would change the tags
    return np.asarray(y * np.float32(gain), dtype=np.float32)


def _rms(y: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(y, dtype=np.float64)))) if len(y) else 0.0


def _mix(y: Samples, partner: Samples, partner_db: float) -> Samples:
    """Add the partner, repeated or cut to this length, at its level relative to `y`."""
    other = np.resize(partner, len(y))
    level = _rms(y) / max(_rms(other), 1e-6) * 10.0 ** (partner_db / 20.0)
    return np.asarray(y + other * np.float32(level), dtype=np.float32)


def _filter(y: Samples, change: AudioAugmentation, rng: Rng, sample_rate: int) -> Samples:
    """Apply tilt, band edges, bells and reverb as one product of spectra, keeping the level."""
    unchanged = not (change.tilt_db or change.bells or change.low_hz or change.high_hz or change.reverb_s)
    if unchanged or not len(y):
        return y
    tail = round((change.reverb_s or 0.25) * sample_rate)
    size = fft.next_fast_len(len(y) + tail, real=True)
    hz = np.maximum(fft.rfftfreq(size, 1.0 / sample_rate), 20.0).astype(np.float32)
    octave = np.log2(hz / 1000.0)
    gain_db = change.tilt_db * octave
    for centre, width, gain in change.bells:
        gain_db += gain * np.exp(-0.5 * ((octave - np.log2(centre / 1000.0)) / width) ** 2)
    response = 10.0 ** (np.clip(gain_db, -40.0, 20.0) / 20.0)
    if change.low_hz:
        response /= np.sqrt(1.0 + (change.low_hz / hz) ** 4)
    if change.high_hz:
        response /= np.sqrt(1.0 + (hz / change.high_hz) ** 8)
    if change.reverb_s:
        room = rng.standard_normal(tail, dtype=np.float32) * 10.0 ** (-3.0 * np.arange(tail, dtype=np.float32) / tail)
        room *= change.wet / max(float(np.sqrt(np.sum(room**2))), 1e-9)
        room[0] += 1.0
        response = response * fft.rfft(room.astype(np.float32), size)
    z = fft.irfft(fft.rfft(y, size) * response, size)[: len(y)]
    return np.asarray(z * (_rms(y) / max(_rms(z), 1e-9)), dtype=np.float32)


def _clip_softly(y: Samples, drive: float) -> Samples:
    """Clip the signal softly after scaling its peak to `drive`, keeping the level."""
    peak = max(float(np.abs(y).max(initial=0.0)), 1e-6)
    z = np.tanh(y * (drive / peak))
    return np.asarray(z * (_rms(y) / max(_rms(z), 1e-9)), dtype=np.float32)


def _noise(length: int, colour: float, rng: Rng) -> NDArray[np.float32]:
    """Return noise of unit level with a power spectrum of 1 / f^colour."""
    white = rng.standard_normal(length, dtype=np.float32)
    if not length:
        return white
    size = fft.next_fast_len(length, real=True)
    spectrum = fft.rfft(white, size)
    spectrum[1:] *= np.arange(1, len(spectrum), dtype=np.float32) ** np.float32(-0.5 * colour)
    shaped = fft.irfft(spectrum, size)[:length]
    return np.asarray(shaped / max(_rms(shaped), 1e-9), dtype=np.float32)
