"""Bytes become samples at 16 kHz, each at its place, and a hop is complete exactly when that was predicted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamtag.audio.pcm import PcmFormat
from streamtag.scheduler.ingest_resampler import IngestResampler, ResamplerDelay
from tests.scheduler.harness import HOP, Sound, resampled

RATES = [1000, 4000, 8000, 11025, 16000, 22050, 32000, 44100, 48000, 88200, 96000, 192000, 384000, 44101, 37123]


def noise(samples: int, seed: int = 0) -> Sound:
    return (0.2 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def one_shot(sound: Sound, rate: int) -> Sound:
    return resampled(PcmFormat(rate, "f32le"), sound.tobytes())


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate >= 4000])  # below, a second try may be needed
def test_a_hop_takes_as_many_samples_as_predicted(rate: int) -> None:
    """Never fewer come out; and with a block less there would not be enough, so nobody waits too long."""
    sound = noise(5 * rate)
    resampler, at, out = IngestResampler(PcmFormat(rate, "f32le")), 0, []
    while True:
        missing = HOP - (resampler.emitted + HOP // 2) % HOP
        needed = resampler.input_needed(missing)
        if at + needed > len(sound):
            break
        out.append(resampler.feed(sound[at : at + needed].tobytes()))
        at += needed
        assert missing <= len(out[-1]) <= missing + 2 * ResamplerDelay.of(rate).max_block
    out += [resampler.feed(sound[at:].tobytes()), resampler.flush()]
    np.testing.assert_array_equal(np.concatenate(out), one_shot(sound, rate))
    assert resampler.emitted == len(np.concatenate(out))


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate >= 8000])
def test_a_resampler_that_continues_elsewhere_gives_the_same_samples(rate: int) -> None:
    sound, rng = noise(3 * rate, 1), np.random.default_rng(rate)
    resampler, at, out, moves = IngestResampler(PcmFormat(rate, "f32le")), 0, [], 0
    while at < len(sound):
        size = int(rng.integers(1, rate // 4))
        out.append(resampler.feed(sound[at : at + size].tobytes()))
        at += size
        if rng.random() < 0.6:
            resampler, complete = IngestResampler.from_state(resampler.export_state())
            out.append(complete)
            moves += 1
    out.append(resampler.flush())
    assert moves > 3
    expected = one_shot(sound, rate)
    together = np.concatenate(out)
    assert len(together) == len(expected)
    is_exact = rate not in (44101, 37123)  # on the 16 kHz grid; others to 1/1000 of a sample each time
    np.testing.assert_allclose(together, expected, atol=1e-6 if is_exact else 5e-3)


def test_without_its_history_a_resampler_gives_other_samples() -> None:
    """The negative control: a new resampler that is fed nothing of what came before."""
    sound = noise(96_000, 1)
    expected = one_shot(sound, 48000)
    rest = one_shot(sound[48_000:], 48000)
    assert np.abs(rest[:50] - expected[16_000:16_050]).max() > 1e-3


@settings(max_examples=40)
@given(
    rate=st.sampled_from([8000, 16000, 44100, 48000]),
    pieces=st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 30_000)), min_size=1, max_size=6),
)
@example(rate=44100, pieces=[(1, 52), (1, 0)])  # its second resampler rounds its only sample away
def test_every_sample_keeps_its_place_whatever_is_lost(rate: int, pieces: list[tuple[int, int]]) -> None:
    resampler, received, emitted = IngestResampler(PcmFormat(rate, "f32le")), 0, 0
    for samples, lost in pieces:
        emitted += len(resampler.feed(noise(samples).tobytes()))
        received += samples
        if lost:
            tail, missing = resampler.insert_gap(lost)
            received += lost
            emitted += len(tail) + missing
            assert emitted == round(received * 16000 / rate)
        assert resampler.emitted == emitted
    emitted += len(resampler.flush())
    assert emitted == round(received * 16000 / rate)


@settings(max_examples=40)
@given(
    rate=st.sampled_from([8000, 16000, 44100, 48000, 44101]), fed=st.integers(0, 30_000), most=st.integers(0, 200_000)
)
def test_whole_hops_are_skipped(rate: int, fed: int, most: int) -> None:
    resampler = IngestResampler(PcmFormat(rate, "f32le"))
    emitted = len(resampler.feed(noise(fed).tobytes()))
    whole = resampler.whole_hops(most, HOP)
    assert 0 <= whole <= most
    assert most - whole <= HOP * rate / 16000 + rate / 16000 + 1
    if not whole:
        return
    tail, hops = resampler.skip(whole, HOP)
    assert hops >= 1
    assert resampler.emitted == emitted + len(tail) + hops * HOP
    assert abs(resampler.emitted - (fed + whole) * 16000 / rate) <= 1.5
