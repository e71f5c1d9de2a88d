"""Resampling as a stream: every cut gives the samples of one shot, and nothing poisons what follows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtag.audio.resample import MAX_AMPLITUDE, SAMPLE_RATE, Resampler
from streamtag.errors import SpecError

RATES = [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000]


def noise(length: int, channels: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.2 * np.random.default_rng(seed).standard_normal((length, channels))).astype(np.float32)


def one_shot(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    resampler = Resampler(rate)
    return np.concatenate([resampler.feed(samples), resampler.flush()])


def in_chunks(samples: NDArray[np.float32], rate: int, sizes: Sequence[int]) -> NDArray[np.float32]:
    """Cuts by the sizes, over and over; a size of 0 is an empty chunk."""
    resampler, out, start, turn = Resampler(rate), [], 0, 0
    while start < len(samples):
        size = sizes[turn % len(sizes)]
        out.append(resampler.feed(samples[start : start + size]))
        start, turn = start + size, turn + 1
    return np.concatenate([*out, resampler.flush()])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_it_equals_soxr_on_the_mean_of_the_channels(rate: int, channels: int) -> None:
    samples = noise(rate + 7, channels)
    expected = soxr.resample(samples.mean(axis=1, dtype=np.float64).astype(np.float32), rate, SAMPLE_RATE)
    out = one_shot(samples, rate)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, atol=1e-6)


@settings(max_examples=30)
@given(
    rate=st.sampled_from(RATES),
    channels=st.sampled_from([1, 2, 3]),
    sizes=st.lists(st.sampled_from([0, 1, 17, 160, 441, 4095, 4096, 4097, 44100]), min_size=1, max_size=5).filter(
        lambda sizes: sum(sizes) / len(sizes) > 8
    ),
)
def test_the_size_of_chunks_does_not_change_the_samples(rate: int, channels: int, sizes: list[int]) -> None:
    samples = noise(rate // 2 + 11, channels)
    np.testing.assert_array_equal(in_chunks(samples, rate, sizes), one_shot(samples, rate))


def test_mono_at_the_target_rate_is_unchanged() -> None:
    samples = noise(5000, 1)
    resampler = Resampler(SAMPLE_RATE)
    np.testing.assert_array_equal(resampler.feed(samples), samples[:, 0])
    assert len(resampler.flush()) == 0


@pytest.mark.parametrize("rate", [16000, 44100])
def test_samples_that_are_not_finite_become_zero(rate: int) -> None:
    samples = noise(rate, 2)
    clean = samples.copy()
    for index, poison in enumerate([np.nan, np.inf, -np.inf]):
        samples[100 + index, index % 2] = poison
        clean[100 + index, index % 2] = 0
    resampler = Resampler(rate)
    out = np.concatenate([resampler.feed(samples), resampler.flush()])
    np.testing.assert_array_equal(out, one_shot(clean, rate))
    assert resampler.repaired == 3
    assert np.isnan(samples).any()  # the caller's buffer stays as it was


def test_absurd_values_are_clipped() -> None:
    samples = np.array([[1e30, 1e38], [-1e38, -1e38], [0.5, 0.5]], np.float32)
    np.testing.assert_array_equal(
        Resampler(SAMPLE_RATE).feed(samples), np.array([MAX_AMPLITUDE, -MAX_AMPLITUDE, 0.5], np.float32)
    )


def test_the_number_of_channels_may_change_within_a_stream() -> None:
    mono = noise(44100, 1)
    resampler = Resampler(44100)
    parts = [
        resampler.feed(mono[:20000]),
        resampler.feed(np.repeat(mono[20000:], 5, axis=1)),
        resampler.flush(),
    ]
    np.testing.assert_allclose(np.concatenate(parts), one_shot(mono, 44100), atol=1e-6)


def test_a_flush_begins_a_new_stream() -> None:
    samples = noise(9000, 1)
    resampler = Resampler(48000)
    first = np.concatenate([resampler.feed(samples), resampler.flush()])
    again = np.concatenate([resampler.feed(samples), resampler.flush()])
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("rate", [0, -1, 1, 10**9])
def test_a_rate_that_only_a_damaged_header_has_is_refused(rate: int) -> None:
    with pytest.raises(SpecError, match="sample rate"):
        Resampler(rate)


@pytest.mark.parametrize("shape", [(4, 0), (2, 2, 2), ()])
def test_a_shape_that_is_not_a_chunk_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="samples, channels"):
        Resampler(44100).feed(np.zeros(shape, np.float32))
