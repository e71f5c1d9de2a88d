"""The device of paper: plays what it was given, in time, and mishaps happen where the script says."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtag.audio.source import AudioChunk, AudioGap
from streamtag.errors import SpecError
from tests.audio.fake_microphone import FakeMicrophone, Fault


def noise(seconds: float, rate: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return (0.2 * random.standard_normal((round(seconds * rate), channels))).astype(np.float32)


def heard(capture: FakeMicrophone) -> tuple[NDArray[np.float32], list[tuple[int, int]]]:
    """-> the stream with NaN for what was lost, and the losses as (position, length) in samples of the stream."""
    parts: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
    losses: list[tuple[int, int]] = []
    position = 0
    until = time.monotonic() + 60
    while (piece := capture.read(0.5)) is not None:
        assert time.monotonic() < until
        if isinstance(piece, AudioGap):
            losses.append((position, piece.samples))
            parts.append(np.full(piece.samples, np.nan, np.float32))
        else:
            assert isinstance(piece, AudioChunk)
            parts.append(piece.samples)
        position += len(parts[-1])
    return np.concatenate(parts), losses


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (48000, 2), (8000, 1), (96000, 3)])
def test_as_fast_as_it_is_taken_everything_comes_through(rate: int, channels: int) -> None:
    sound = noise(25, rate, channels)  # more than the ring holds
    with FakeMicrophone(sound, rate, speed=float("inf")) as capture:
        samples, losses = heard(capture)
        assert capture.read(0) is None
    expected = soxr.resample(sound.mean(axis=1), rate, 16000)
    assert losses == []
    assert capture.xruns == 0
    assert len(samples) == round(len(sound) * 16000 / rate)
    np.testing.assert_allclose(samples, expected, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 5000), max_size=12))
def test_how_its_sound_is_cut_does_not_matter(sizes: list[int]) -> None:
    sound = noise(1, sum(sizes) or 1)[: sum(sizes), 0]
    chunks = np.split(sound, np.cumsum(sizes)[:-1]) if sizes else []
    with FakeMicrophone(iter(chunks), speed=float("inf")) as capture:
        samples, losses = heard(capture)
    np.testing.assert_array_equal(samples, sound)
    assert losses == []


def test_a_loss_of_the_script_is_told_in_its_place() -> None:
    sound = noise(3, 16000)
    with FakeMicrophone(sound, speed=float("inf"), mishaps=[Fault(1.0, lost_s=0.5), Fault(2.9, lost_s=9)]) as capture:
        samples, losses = heard(capture)
    assert losses == [(16000, 8000), (46400, 1600)]
    assert capture.xruns == 2
    kept = np.isfinite(samples)
    np.testing.assert_array_equal(samples[kept], sound[:, 0][kept])


@settings(max_examples=30, deadline=None)
@given(
    rate=st.sampled_from([11025, 16000, 44100, 48000]),
    places=st.lists(st.tuples(st.floats(0, 2.5), st.floats(0, 0.4)), max_size=4),
)
def test_after_any_loss_every_sample_is_in_its_place(rate: int, places: list[tuple[float, float]]) -> None:
    """A ramp of a tone's phase would show a shift; the stream's length is exact to the sample."""
    seconds = np.arange(round(2.5 * rate)) / rate
    sound = np.sin(2 * np.pi * 100 * seconds).astype(np.float32)
    mishaps = [Fault(at, lost_s=lost) for at, lost in places]
    with FakeMicrophone(sound, rate, speed=float("inf"), mishaps=mishaps) as capture:
        samples, losses = heard(capture)
    assert len(samples) == round(len(sound) * 16000 / rate)
    expected = np.sin(2 * np.pi * 100 * np.arange(len(samples)) / 16000)
    settled = np.isfinite(samples)
    for edge in [0, len(samples), *(position for loss in losses for position in (loss[0], sum(loss)))]:
        settled[max(0, edge - 400) : edge + 400] = False  # where the sound breaks off, a filter rings
    assert np.abs(samples - expected)[settled].max(initial=0) < 0.03  # half a sample's shift: 0.02


def test_it_plays_no_faster_than_its_speed() -> None:
    began = time.monotonic()
    with FakeMicrophone(noise(1.2, 16000), speed=4.0) as capture:
        samples, losses = heard(capture)
    assert 0.29 < time.monotonic() - began < 5
    assert losses == []
    assert len(samples) == 19200


def test_the_arrival_of_a_piece_is_that_of_its_newest_sample() -> None:
    began = time.monotonic()
    position = 0
    with FakeMicrophone(noise(0.5, 48000), 48000) as capture:
        while (piece := capture.read(0.5)) is not None:
            assert isinstance(piece, AudioChunk)
            position += len(piece.samples)
            if len(piece.samples):
                late = piece.arrival_time - (began + position / 16000)
                assert -0.02 < late < 0.25, position
    assert position == 8000


def test_a_taker_that_is_late_loses_sound_and_is_told_how_much() -> None:
    sound = noise(4, 16000)
    with FakeMicrophone(sound, speed=40, ring_s=0.5) as capture:
        time.sleep(0.3)  # all of it was played by now, and half a second of it waits
        samples, losses = heard(capture)
    assert len(samples) == 64000
    assert capture.xruns == 1
    assert losses == [(8000, 56000)]


def test_a_stall_loses_nothing_and_what_was_due_comes_after_it() -> None:
    sound = noise(1, 16000)
    began = time.monotonic()
    with FakeMicrophone(sound, speed=10, mishaps=[Fault(0.5, stall_s=0.4)]) as capture:
        samples, losses = heard(capture)
    assert time.monotonic() - began > 0.44
    assert losses == []
    np.testing.assert_array_equal(samples, sound[:, 0])


def test_when_nothing_comes_a_piece_without_samples_says_so() -> None:
    with FakeMicrophone(noise(1, 16000), mishaps=[Fault(0, stall_s=60)]) as capture:
        began = time.monotonic()
        piece = capture.read(0.05)
        assert isinstance(piece, AudioChunk)
        assert len(piece.samples) == 0
        assert 0.04 < time.monotonic() - began < 1


def test_closing_ends_a_sound_without_end() -> None:
    def endless() -> Iterator[NDArray[np.float32]]:
        while True:
            yield noise(1, 16000)

    capture = FakeMicrophone(endless(), speed=float("inf"))
    assert isinstance(capture.read(1), AudioChunk)
    capture.close()
    began = time.monotonic()
    while capture.read(0) is not None:  # what the ring held still comes
        assert time.monotonic() - began < 5


def test_what_its_sound_raises_comes_in_its_place() -> None:
    def broken() -> Iterator[NDArray[np.float32]]:
        yield noise(1, 16000)
        raise OSError("the disk is gone")

    with FakeMicrophone(broken(), speed=float("inf")) as capture, pytest.raises(OSError, match="the disk is gone"):
        heard(capture)


def test_the_tee_gets_the_sound_with_zeros_for_what_was_lost() -> None:
    sound = noise(2, 48000, 2)
    parts: list[NDArray[np.float32]] = []
    rates = set()

    def tap(samples: NDArray[np.float32], rate: int) -> None:
        parts.append(samples)
        rates.add(rate)

    with FakeMicrophone(sound, 48000, speed=float("inf"), mishaps=[Fault(1, lost_s=0.25)], tap=tap) as capture:
        heard(capture)
    expected = sound.mean(axis=1)
    expected[48000:60000] = 0
    assert rates == {48000}
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-7)


def test_the_peak_is_that_of_all_channels() -> None:
    sound = np.zeros((1600, 2), np.float32)
    sound[:, 1] = -0.75  # the mean is half of it
    with FakeMicrophone(sound, speed=float("inf")) as capture:
        peaks = [piece.peak for piece in iter(lambda: capture.read(1), None) if isinstance(piece, AudioChunk)]
    assert max(peaks) == 0.75


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(SpecError, match="speed"):
        FakeMicrophone(noise(1, 16000), speed=speed)


@pytest.mark.parametrize("times", [(-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, float("inf"))])
def test_a_mishap_before_the_beginning_is_refused(times: tuple[float, float, float]) -> None:
    with pytest.raises(SpecError, match="Mishap"):
        Fault(*times)
