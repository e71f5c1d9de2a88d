"""What the meter reads of sounds whose level is known."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtag.audio.level_meter import BLOCK, CLIP_DISPLAY_S, FALL_DB, LATENCY_WINDOW_S, MIN_DB, Level, Meter
from streamtag.audio.source import AudioChunk

RATE = 16000


class Clock:
    """Seconds, moved by hand."""

    now = 50.0

    def __call__(self) -> float:
        return self.now


def _sine(seconds: float, amplitude: float, frequency: float = 440.0) -> NDArray[np.float32]:
    time = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def _feed(meter: Meter, samples: NDArray[np.float32], cut: int = 160, peak: float = 0.0) -> None:
    for start in range(0, len(samples), cut):
        meter.add_chunk(AudioChunk(samples[start : start + cut], 0.0, peak))


def _level(meter: Meter) -> Level:
    level = meter.reading().level
    assert level is not None
    return level


@pytest.mark.parametrize(("amplitude", "decibels"), [(1.0, -3.01), (0.5, -9.03), (0.01, -43.01)])
def test_the_level_of_a_sine_is_right(amplitude: float, decibels: float) -> None:
    meter = Meter(Clock())
    _feed(meter, _sine(3, amplitude))
    level = _level(meter)
    assert level.rms_db == pytest.approx(decibels, abs=0.05)
    assert level.peak_db == pytest.approx(decibels + 3.01, abs=0.05)
    assert level.clipped == (amplitude == 1.0)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_constant_counts_as_silence(value: float) -> None:
    meter = Meter()
    assert meter.reading().level is None
    _feed(meter, np.full(RATE, value, np.float32))
    assert _level(meter).rms_db < -90
    assert (_level(meter).peak_db == MIN_DB) == (value == 0)
    assert meter.silence_s == pytest.approx(1.0)


@given(st.lists(st.integers(0, 5000), max_size=12), st.integers(0, 5))
def test_the_size_of_chunks_does_not_matter(cuts: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).standard_normal(2 * RATE).astype(np.float32) * 0.1
    samples[RATE:] *= 1e-4
    whole, parts = Meter(Clock()), Meter(Clock())
    whole.add_chunk(AudioChunk(samples, 0.0))
    for part in np.split(samples, np.cumsum(cuts).clip(0, len(samples))):
        parts.add_chunk(AudioChunk(part, 0.0))
    assert parts.reading().elapsed_s == pytest.approx(2.0)
    assert _level(parts).rms_db == pytest.approx(_level(whole).rms_db, abs=1e-6)
    assert parts.silence_s == whole.silence_s == pytest.approx(1.0)


@pytest.mark.parametrize(("decibels", "silent"), [(-51.0, True), (-49.0, False)])
def test_silence_is_below_fifty_decibels(decibels: float, silent: bool) -> None:
    meter = Meter()
    _feed(meter, _sine(2, 10 ** ((decibels + 3.01) / 20)))
    assert meter.silence_s == pytest.approx(2.0 if silent else 0.0)


def test_sound_and_gaps_end_a_silence() -> None:
    meter = Meter()
    _feed(meter, np.zeros(2 * RATE, np.float32))
    assert meter.silence_s == pytest.approx(2.0)
    meter.add_gap(10.0)
    assert meter.silence_s == 0
    _feed(meter, np.zeros(RATE, np.float32))
    assert meter.silence_s == pytest.approx(1.0)
    _feed(meter, _sine(0.1, 0.1))
    assert meter.silence_s == 0


def test_a_peak_falls_and_the_clip_light_goes_out() -> None:
    clock = Clock()
    meter = Meter(clock)
    click = np.zeros(BLOCK, np.float32)
    click[5] = 1.0
    meter.add_chunk(AudioChunk(click, 0.0))
    assert _level(meter).clipped
    clock.now += 1.0
    meter.add_chunk(AudioChunk(np.zeros(BLOCK, np.float32), 0.0))
    assert _level(meter).peak_db == pytest.approx(-FALL_DB)
    assert _level(meter).clipped
    clock.now += CLIP_DISPLAY_S - 1.0
    assert not _level(meter).clipped


def test_a_channel_that_clips_is_shown_although_the_mix_does_not() -> None:
    meter = Meter()
    _feed(meter, _sine(0.2, 0.4), peak=1.0)
    assert _level(meter).clipped
    quieter = Meter()
    _feed(quieter, _sine(0.2, 0.4), peak=0.9)
    assert not _level(quieter).clipped


def test_the_level_falls_when_no_audio_comes() -> None:
    clock = Clock()
    meter = Meter(clock)
    _feed(meter, _sine(1, 0.5))
    clock.now += 0.4  # a source may come in chunks of that size
    before = _level(meter).rms_db
    clock.now += 5.0
    assert before == pytest.approx(-9.03, abs=0.1)
    assert _level(meter).rms_db < -60
    meter.add_chunk(AudioChunk(np.zeros(0, np.float32), 0.0))  # nothing came
    assert _level(meter).rms_db < -60


def test_latency_counts_over_the_last_minute() -> None:
    clock = Clock()
    meter = Meter(clock)
    for _ in range(100):
        meter.add_frame(1.0, 9.0)
    clock.now += LATENCY_WINDOW_S + 1
    for number in range(1, 101):
        meter.add_frame(1.0, number / 100)
    reading = meter.reading()
    assert reading.latency_p50_s == pytest.approx(0.505)
    assert reading.latency_p95_s == pytest.approx(0.95, abs=0.01)
    clock.now += LATENCY_WINDOW_S + 1
    assert meter.reading().latency_p95_s is None


def test_the_real_time_factor_is_that_of_recent_work() -> None:
    meter = Meter()
    meter.add_work(0.1, RATE)
    assert meter.reading().rtf == pytest.approx(0.1)
    for _ in range(200):
        meter.add_work(0.5, RATE)
    assert meter.reading().rtf == pytest.approx(0.5, abs=1e-3)
    meter.add_work(0.2, 0)  # work on what was there already
    assert meter.reading().rtf == pytest.approx(0.52, abs=0.01)


def test_gaps_xruns_and_dropped_frames_are_counted() -> None:
    meter = Meter()
    _feed(meter, _sine(1, 0.1))
    meter.add_gap(2.5)
    meter.add_frame(3.0, None, dropped=4)
    meter.set_xruns(3)
    reading = meter.reading()
    assert reading.elapsed_s == pytest.approx(3.5)
    assert (reading.gaps, reading.lost_s) == (1, 2.5)
    assert (reading.dropped, reading.xruns) == (4, 3)
    meter.add_frame(7.5, 0.4)  # a stream whose sound is not seen
    assert meter.reading().elapsed_s == 7.5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_values_that_are_no_sound_do_no_lasting_harm(value: float) -> None:
    meter = Meter(Clock())
    _feed(meter, np.full(RATE, value, np.float32), peak=value)
    meter.reading()
    clock = Clock()
    meter = Meter(clock)
    _feed(meter, np.full(BLOCK, value, np.float32))
    clock.now += 100
    _feed(meter, _sine(60, 0.5))
    assert _level(meter).rms_db == pytest.approx(-9.03, abs=0.05)
    assert _level(meter).peak_db == pytest.approx(-6.02, abs=0.05)


def test_any_thread_may_read_while_one_writes() -> None:
    meter = Meter()
    with ThreadPoolExecutor(1) as threads:
        reader = threads.submit(lambda: [meter.reading() for _ in range(3000)])
        for number in range(3000):
            meter.add_frame(float(number), 0.4)
            meter.add_chunk(AudioChunk(np.ones(160, np.float32), 0.0))
        assert len(reader.result(30)) == 3000
    assert meter.reading().elapsed_s == 2999
