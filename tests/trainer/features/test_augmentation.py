"""Each change of the audio does what its name says, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trainer.features import augmentation
from trainer.features.augmentation import AudioAugmentation

RATE = 16000
NOTHING = AudioAugmentation()


def noise(seconds: float = 2.0) -> np.ndarray:
    return (0.1 * np.random.default_rng(1).standard_normal(round(seconds * RATE))).astype(np.float32)


def tone(hz: float, seconds: float = 2.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def applied(change: AudioAugmentation, samples: np.ndarray, partner: np.ndarray | None = None) -> np.ndarray:
    return augmentation.apply(change, samples, partner, np.random.default_rng(2), RATE)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def band_db(samples: np.ndarray, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE)
    return float(10 * np.log10(power[(hz >= low) & (hz < high)].mean()))


def test_the_default_changes_nothing() -> None:
    samples = noise() * 20  # beyond full scale too
    np.testing.assert_array_equal(applied(NOTHING, samples), samples)
    assert NOTHING.share == 1.0


def test_start_and_speed() -> None:
    samples = tone(1000)
    assert len(applied(replace(NOTHING, start_s=0.5), samples)) == 24000
    fast = applied(replace(NOTHING, speed=1.25), samples)
    assert abs(len(fast) - 25600) <= 1
    assert abs(np.argmax(np.abs(np.fft.rfft(fast))) * RATE / len(fast) - 1250) < 2


def test_the_partner_is_mixed_at_its_level() -> None:
    own, other = tone(500), tone(3000, 0.7) * 0.01  # shorter and much quieter: it is repeated and scaled
    change = replace(NOTHING, partner="other", partner_db=-6.0)
    mixed = applied(change, own, other)
    assert len(mixed) == len(own)
    difference = band_db(mixed, 2990, 3010) - band_db(mixed, 490, 510)
    assert abs(difference + 6.0) < 1.5
    assert change.share == pytest.approx(1 / (1 + 10 ** (-6 / 20)))


def test_filters() -> None:
    samples = noise()
    plain = band_db(samples, 4000, 8000) - band_db(samples, 100, 1000)
    low = applied(replace(NOTHING, high_hz=2000.0), samples)
    assert band_db(low, 5000, 8000) - band_db(low, 100, 1000) < plain - 20
    high = applied(replace(NOTHING, low_hz=300.0), samples)
    assert band_db(high, 20, 100) - band_db(high, 1000, 2000) < -15
    tilted = applied(replace(NOTHING, tilt_db=3.0), samples)
    assert band_db(tilted, 3900, 4100) - band_db(tilted, 980, 1020) == pytest.approx(6.0, abs=2.0)
    bell = applied(replace(NOTHING, bells=((1000.0, 0.5, 9.0),)), samples)
    assert band_db(bell, 950, 1050) - band_db(bell, 6000, 7000) == pytest.approx(9.0, abs=2.0)
    for changed in (low, high, tilted, bell):
        assert rms(changed) == pytest.approx(rms(samples), rel=0.02)


def test_reverb_has_a_tail() -> None:
    click = np.zeros(RATE, dtype=np.float32)
    click[4000] = 0.5
    room = applied(replace(NOTHING, reverb_s=0.5, wet=0.5), click)
    assert np.abs(room[:3990]).max() < 1e-4  # nothing before the click
    early, late = rms(room[4001:6000]), rms(room[10000:12000])
    assert early > 1e-4
    assert late < early / 10


def test_noise_level_and_colour() -> None:
    silent = tone(1000)
    for colour in (0.0, 1.0):
        added = applied(replace(NOTHING, noise_db=20.0, colour=colour), silent) - silent
        assert 20 * np.log10(rms(silent) / rms(added)) == pytest.approx(20.0, abs=0.2)
        slope = band_db(added, 4000, 8000) - band_db(added, 250, 500)
        assert slope == pytest.approx(-12.0 * colour, abs=2.0)  # four octaves, 3 dB each


def test_drive_adds_harmonics_and_keeps_the_level() -> None:
    samples = tone(500)
    driven = applied(replace(NOTHING, drive=5.0), samples)
    assert band_db(driven, 1490, 1510) > band_db(samples, 1490, 1510) + 30
    assert rms(driven) == pytest.approx(rms(samples), rel=0.01)


def test_gain_never_clips() -> None:
    samples = tone(500)
    assert rms(applied(replace(NOTHING, gain_db=-6.0), samples)) == pytest.approx(rms(samples) / 2, rel=0.01)
    loud = applied(replace(NOTHING, gain_db=20.0), samples)
    assert np.abs(loud).max() == pytest.approx(1.0)
    assert band_db(loud, 1490, 1510) < band_db(loud, 490, 510) - 60  # still a sine


def test_draws_are_seeded_and_differ() -> None:
    others = [f"clip-{i}" for i in range(9)]

    def augmentation_of(seed: int, number: int, name: str) -> AudioAugmentation:
        return augmentation.draw(augmentation.generator(seed, number, name), others)

    assert augmentation_of(1, 1, "a") == augmentation_of(1, 1, "a")
    differing = ((1, 1, "a"), (2, 1, "a"), (1, 2, "a"), (1, 1, "b"))
    assert len({augmentation_of(*each) for each in differing}) == 4


def test_every_drawn_recipe_gives_finite_sound_of_the_right_length() -> None:
    samples, partner = noise(3.0), tone(700, 1.0)
    for number in range(40):
        change = augmentation.draw(augmentation.generator(1, number, "a"), ["b"])
        changed = applied(replace(change, codec=None), samples, partner)
        assert np.isfinite(changed).all()
        assert np.abs(changed).max() <= 1.0 + 1e-6
        expected = (3.0 - change.start_s) / change.speed * RATE
        assert abs(len(changed) - expected) <= 2


@pytest.mark.parametrize("length", [0, 1, 100])
def test_very_short_and_silent_sounds(length: int) -> None:
    everything = AudioAugmentation(
        0.0, 1.1, "b", -3.0, 1.0, 100.0, 4000.0, ((500.0, 1.0, 3.0),), 0.3, 0.3, 2.0, 20.0, 1.0, gain_db=3.0
    )
    changed = applied(everything, np.zeros(length, dtype=np.float32), tone(500))
    assert np.isfinite(changed).all()
