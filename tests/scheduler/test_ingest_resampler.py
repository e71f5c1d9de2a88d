"""Bytes become samples at 16 kHz, every one in its place, and a hop is there exactly when it was said to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtag.audio.resample import Resampler
from streamtag.errors import SpecError
from streamtag.scheduler.ingest_resampler import IngestResampler, prime
from streamtag.scheduler.pcm_format import PcmFormat
from streamtag.scheduler.resampler_delay import ResamplerDelay

RATES = [1000, 4000, 8000, 11025, 16000, 22050, 32000, 44100, 48000, 88200, 96000, 192000, 384000, 44101, 37123]
HOP = 4096
Sound = NDArray[np.float32]


def noise(samples: int, seed: int = 0) -> Sound:
    return (0.2 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def one_shot(sound: Sound, rate: int) -> Sound:
    resampler = Resampler(rate)
    return np.concatenate([resampler.feed(sound), resampler.flush()])


def until_a_hop(intake: IngestResampler) -> int:
    return HOP - (intake.gone + HOP // 2) % HOP


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate >= 4000])  # below, a second try may be needed
def test_a_hop_takes_as_many_samples_as_was_said(rate: int) -> None:
    """Never fewer come out; and with a block's less there would not be enough, so nobody waits too long."""
    sound = noise(5 * rate)
    intake, at, out = IngestResampler(PcmFormat(rate, "f32le")), 0, []
    while True:
        wanted = until_a_hop(intake)
        needs = intake.needs(wanted)
        if at + needs > len(sound):
            break
        out.append(intake.hear(sound[at : at + needs].tobytes()))
        at += needs
        block = ResamplerDelay.of(rate).length
        assert wanted <= len(out[-1]) <= wanted + 2 * block
    out += [intake.hear(sound[at:].tobytes()), intake.flush()]
    np.testing.assert_array_equal(np.concatenate(out), one_shot(sound, rate))
    assert intake.gone == len(np.concatenate(out))


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate >= 8000])
def test_one_that_goes_on_elsewhere_gives_the_same_samples(rate: int) -> None:
    sound, rng = noise(3 * rate, 1), np.random.default_rng(rate)
    intake, at, out, moves = IngestResampler(PcmFormat(rate, "f32le")), 0, [], 0
    while at < len(sound):
        size = int(rng.integers(1, rate // 4))
        out.append(intake.hear(sound[at : at + size].tobytes()))
        at += size
        if rng.random() < 0.6:
            intake, ready = IngestResampler.at(intake.state())
            out.append(ready)
            moves += 1
    out.append(intake.flush())
    assert moves > 3
    expected = one_shot(sound, rate)
    together = np.concatenate(out)
    assert len(together) == len(expected)
    exact = rate not in (44101, 37123)  # on the 16 kHz grid; others to 1/1000 of a sample each time
    np.testing.assert_allclose(together, expected, atol=1e-6 if exact else 5e-3)


def test_without_the_past_it_would_not() -> None:
    """The negative control: a new resampler that is fed nothing of what came before."""
    sound = noise(96_000, 1)
    expected = one_shot(sound, 48000)
    rest = one_shot(sound[48_000:], 48000)
    assert np.abs(rest[:50] - expected[16_000:16_050]).max() > 1e-3


def test_the_past_is_as_long_as_it_must_be() -> None:
    """Half of what is kept is enough at any rate: a margin, and no more."""
    for rate in (8000, 44100, 48000, 96000, 192000):
        sound = noise(2 * rate, 3)
        expected, place = one_shot(sound, rate), 16_000 * (rate // 100 * 100) // rate
        start = rate - prime(rate) // 2 // 441 * 441 * 1
        start -= start % (rate // np.gcd(rate, 16000))
        late = one_shot(sound[start:], rate)
        offset = place - start * 16000 // rate
        np.testing.assert_allclose(late[offset : offset + 8000], expected[place : place + 8000], atol=2e-6)


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([8000, 16000, 44100, 48000]),
    pieces=st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 30_000)), min_size=1, max_size=6),
)
@example(rate=44100, pieces=[(1, 52), (1, 0)])  # its second resampler rounds its only sample away
def test_every_sample_keeps_its_place_whatever_is_lost(rate: int, pieces: list[tuple[int, int]]) -> None:
    """Sound and losses in turns: the count of the stream is that of the producer, at 16 kHz."""
    intake, came, gone = IngestResampler(PcmFormat(rate, "f32le")), 0, 0
    for samples, lost in pieces:
        gone += len(intake.hear(noise(samples).tobytes()))
        came += samples
        if lost:
            tail, missing = intake.lose(lost)
            came += lost
            gone += len(tail) + missing
            assert gone == round(came * 16000 / rate)
        assert intake.gone == gone
    gone += len(intake.flush())
    assert gone == round(came * 16000 / rate)


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([8000, 16000, 44100, 48000, 44101]), heard=st.integers(0, 30_000), most=st.integers(0, 200_000)
)
def test_whole_hops_are_passed_over(rate: int, heard: int, most: int) -> None:
    intake = IngestResampler(PcmFormat(rate, "f32le"))
    gone = len(intake.hear(noise(heard).tobytes()))
    whole = intake.whole(most, HOP)
    assert 0 <= whole <= most
    assert most - whole <= HOP * rate / 16000 + rate / 16000 + 1
    if not whole:
        return
    tail, hops = intake.skip(whole, HOP)
    assert hops >= 1
    assert intake.gone == gone + len(tail) + hops * HOP
    assert abs(intake.gone - (heard + whole) * 16000 / rate) <= 1.5


def test_another_format_goes_on_where_the_first_was() -> None:
    first, second = noise(22_050, 1), noise(24_000, 2)
    intake = IngestResampler(PcmFormat(44100, "f32le"))
    out = [intake.hear(first.tobytes()), intake.turn(PcmFormat(48000, "f32le", 2))]
    out += [intake.hear(np.repeat(second, 2).tobytes()), intake.flush()]
    expected = np.concatenate([one_shot(first, 44100), one_shot(second, 48000)])
    np.testing.assert_allclose(np.concatenate(out), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["rate", "channels"])
@pytest.mark.parametrize("value", [0, -1, 10**9, 2.5, "1", None, True])
def test_formats_that_make_no_sense(name: str, value: object) -> None:
    with pytest.raises(SpecError, match=name):
        PcmFormat(**{name: value})  # type: ignore[arg-type]


def test_samples_of_another_kind_are_refused() -> None:
    with pytest.raises(SpecError, match="s16le or f32le"):
        PcmFormat(16000, "u8")  # type: ignore[arg-type]


def test_full_scale_is_one() -> None:
    data = np.array([-32768, 0, 16384], "<i2").tobytes()
    np.testing.assert_array_equal(PcmFormat(16000, "s16le").decode(data), [[-1], [0], [0.5]])
    data = np.array([0.25, -2.0], "<f4").tobytes()
    np.testing.assert_array_equal(PcmFormat(16000, "f32le", 2).decode(data), [[0.25, -2.0]])
