"""Blocks of an input become chunks and gaps at 16 kHz: whatever is lost, every sample stays in its place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtag.audio.resample import CaptureResampler
from streamtag.audio.ring import Block
from streamtag.audio.source import AudioChunk, AudioGap, CaptureEvent
from tests.audio.capture import gaps_of, samples_of


def blocks(sound: NDArray[np.float32], rate: int, losses: dict[int, int]) -> list[Block]:
    """Blocks of 10 ms that arrive when they end; the first samples of block n are lost, as many as losses[n]."""
    size = rate // 100
    parts = [sound[start : start + size] for start in range(0, len(sound), size)]
    cuts = [min(losses.get(number, 0), len(part)) for number, part in enumerate(parts)]
    return [Block(part[cut:], (n + 1) / 100, lost=cut) for n, (part, cut) in enumerate(zip(parts, cuts, strict=True))]


def resampled(resampler: CaptureResampler, blocks: list[Block]) -> list[CaptureEvent]:
    return [event for block in blocks for event in resampler.feed(block)] + resampler.flush()


def as_samples(event: CaptureEvent) -> NDArray[np.float32]:
    """NaN for a gap."""
    if isinstance(event, AudioChunk):
        return event.samples
    assert isinstance(event, AudioGap)
    return np.full(event.samples, np.nan, np.float32)


@settings(max_examples=30)
@given(
    rate=st.sampled_from([11000, 16000, 44100, 48000]),
    losses=st.dictionaries(st.integers(0, 149), st.integers(1, 480), max_size=4),
)
def test_after_any_loss_every_sample_is_in_its_place(rate: int, losses: dict[int, int]) -> None:
    """A shift would show in the phase of a tone; the length of the stream is exact to the sample."""
    sound = np.sin(2 * np.pi * 100 * np.arange(round(1.5 * rate)) / rate).astype(np.float32)[:, np.newaxis]
    events = resampled(CaptureResampler(rate), blocks(sound, rate, losses))
    samples = np.concatenate([as_samples(event) for event in events])
    assert len(samples) == round(len(sound) * 16000 / rate)
    settled = np.isfinite(samples)
    edges = np.flatnonzero(np.diff(settled, prepend=False, append=False))
    for edge in [0, len(samples), *edges]:
        settled[max(0, edge - 400) : edge + 400] = False  # where the sound breaks off, a filter rings
    expected = np.sin(2 * np.pi * 100 * np.arange(len(samples)) / 16000)
    assert np.abs(samples - expected)[settled].max(initial=0) < 0.03  # half a sample's shift: 0.02


def test_the_arrival_time_of_a_chunk_is_that_of_the_block_with_its_newest_sample() -> None:
    sound = np.zeros((48000, 1), np.float32)
    position = 0
    for event in resampled(CaptureResampler(48000), blocks(sound, 48000, {})):
        assert isinstance(event, AudioChunk)
        position += len(event.samples)
        assert event.arrival_time == pytest.approx(np.ceil(position / 160) / 100)
    assert position == 16000


def test_the_tap_gets_the_mono_samples_before_resampling_with_zeros_for_a_gap() -> None:
    tapped: list[tuple[NDArray[np.float32], int]] = []
    resampler = CaptureResampler(48000, lambda samples, rate: tapped.append((samples, rate)))
    sound = np.random.default_rng(0).standard_normal((48000, 2)).astype(np.float32)
    events = resampled(resampler, blocks(sound, 48000, {50: 480}))
    expected = sound.mean(axis=1)
    expected[24000:24480] = 0
    assert gaps_of(events) == [160]
    assert len(samples_of(events)) == 16000 - 160
    assert {rate for _, rate in tapped} == {48000}
    np.testing.assert_allclose(np.concatenate([samples for samples, _ in tapped]), expected, atol=1e-6)


def test_the_peak_is_that_of_all_channels() -> None:
    sound = np.zeros((1600, 2), np.float32)
    sound[100, 1] = -0.75  # the mean is half of it
    events = resampled(CaptureResampler(16000), [Block(sound, 0.0)])
    assert [event.peak for event in events if isinstance(event, AudioChunk)] == [0.75]
