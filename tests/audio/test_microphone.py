"""The microphone on fake devices: which device, which samples, and what happens when it goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.audio.devices import Callback, InputDevice, OpenInput
from streamtag.audio.microphone import BLOCK_S, Microphone, MicrophoneLimits
from streamtag.audio.source import AudioChunk, AudioGap, SourceNotice
from streamtag.errors import SourceError, SpecError
from tests.audio.capture import (
    QUICK,
    RATE,
    TIMEOUT_S,
    gaps_of,
    has_recovered,
    noise,
    notices_of,
    read_until,
    samples_of,
)
from tests.fake_clock import FakeClock


class FakeInput:
    def __init__(self, callback: Callback, closings: SimpleQueue[FakeInput]) -> None:
        self.callback = callback
        self.is_active = True
        self.closed = False
        self._closings = closings

    @property
    def latency_s(self) -> float:
        return 0.03

    def close(self) -> None:
        self.is_active, self.closed = False, True
        self._closings.put(self)


class FakeSystem:
    """Devices that play when the test says so. first_sounds: what a stream plays as it opens, by its number from 1."""

    def __init__(self, *devices: InputDevice) -> None:
        self.devices = list(devices) or [InputDevice(0, "USB Audio", "ALSA", RATE, 2, True)]
        self.opened: list[tuple[InputDevice, int, int]] = []
        self.streams: list[FakeInput] = []
        self.closings: SimpleQueue[FakeInput] = SimpleQueue()
        self.first_sounds: dict[int, NDArray[np.float32]] = {}
        self.refreshed = 0
        self.error: Exception | None = None
        self.can_open = threading.Event()  # not set: opening takes for ever
        self.can_open.set()

    def inputs(self) -> list[InputDevice]:
        return list(self.devices)

    def open(self, device: InputDevice, channels: int, frames: int, callback: Callback) -> OpenInput:
        self.can_open.wait(TIMEOUT_S)
        if self.error is not None:
            raise self.error
        self.opened.append((device, channels, frames))
        self.streams.append(FakeInput(callback, self.closings))
        if (sound := self.first_sounds.get(len(self.streams))) is not None:
            self.play(sound)
        return self.streams[-1]

    def refresh(self) -> None:
        assert all(stream.closed for stream in self.streams)  # PortAudio would pull it from under them
        self.refreshed += 1

    def play(self, samples: NDArray[np.float32], flagged: bool = False) -> None:
        """samples [n, channels], as the device's thread would: in its blocks, through a buffer it uses again."""
        _, channels, frames = self.opened[-1]
        assert samples.shape[1] == channels
        buffer = np.zeros((frames, channels), np.float32)
        for start in range(0, len(samples) - frames + 1, frames):
            buffer[:] = samples[start : start + frames]
            self.streams[-1].callback(buffer, flagged and not start)
        buffer[:] = np.nan

    def unplug(self) -> None:
        self.streams[-1].is_active = False


@pytest.fixture
def system() -> FakeSystem:
    return FakeSystem()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def microphone(system: FakeSystem, clock: FakeClock) -> Iterator[Microphone]:
    with Microphone(system=system, limits=QUICK, clock=clock, sleep=clock.sleep) as microphone:
        yield microphone


@pytest.mark.parametrize(("rate", "channels", "frames"), [(RATE, 2, 480), (44100, 32, 441)])
def test_the_device_opens_at_its_own_rate_in_small_blocks_of_two_channels_at_most(
    rate: int, channels: int, frames: int
) -> None:
    system = FakeSystem(InputDevice(0, "USB Audio", "ALSA", rate, channels, True))
    with Microphone(system=system) as microphone:
        assert system.opened == [(system.devices[0], 2, frames)]
        assert (microphone.name, microphone.description) == ("mic", f"USB Audio, {rate} Hz, 2 channels")
        assert (microphone.latency_s, microphone.xruns) == (0.03, 0)


@pytest.mark.parametrize("channel", [1, 2, 3])
def test_one_channel_can_be_chosen(channel: int) -> None:
    system = FakeSystem(InputDevice(0, "Mixer", "ALSA", 16000, 4, True))
    sound = noise(0.5, RATE, channel)
    with Microphone(channel=channel, system=system) as microphone:
        assert microphone.description == f"Mixer, 16000 Hz, channel {channel}"
        system.play(sound)
        samples = samples_of(read_until(microphone, lambda events: len(samples_of(events)) >= 24000 - 160))
    np.testing.assert_array_equal(samples, sound[: len(samples), channel - 1])


def test_an_input_that_cannot_be_used_is_refused(system: FakeSystem) -> None:
    with pytest.raises(SourceError, match="USB Audio: has 2 channels, so no channel 3"):
        Microphone(channel=3, system=system)
    with pytest.raises(SpecError, match="from 1"):
        Microphone(channel=0, system=system)
    with pytest.raises(SourceError, match="no such input"):
        Microphone("violin", system=system)
    system.error = SourceError("input USB Audio: cannot be opened: device busy")
    with pytest.raises(SourceError, match="cannot be opened: device busy"):
        Microphone(system=system)


def test_what_the_ring_cannot_hold_is_reported_as_a_gap(system: FakeSystem) -> None:
    with Microphone(system=system, limits=MicrophoneLimits(ring_s=0.5)) as microphone:
        system.play(noise(2, RATE, 2))  # and nobody reads
        read_until(microphone, lambda events: len(samples_of(events)) > 7000)
        system.play(noise(0.5, RATE, 2))
        events = read_until(microphone, lambda events: len(samples_of(events)) > 7000)
        assert microphone.xruns == 1
    assert gaps_of(events) == [24000]  # what the resampler held comes first, and completes the half second


def test_a_reader_that_was_stopped_does_not_take_the_device_for_dead(
    system: FakeSystem, microphone: Microphone, clock: FakeClock
) -> None:
    """Neither between two reads, while the device plays on, nor with the whole program, within one."""
    events = []
    for extra_s in (0.0, 60.0):
        for _ in range(10):
            clock.now += 0.1
            system.play(noise(0.1, RATE, 2))
        events += read_until(microphone, lambda events: samples_of(events).any())
        clock.extra_s = extra_s
        events += filter(None, (microphone.read(0) for _ in range(5)))
    assert clock.extra_s == 0
    assert notices_of(events) == []
    assert len(system.streams) == 1


@pytest.mark.parametrize("how", ["unplugged", "stops calling back"])
def test_a_device_that_comes_back_is_bridged_by_a_gap_of_true_length(
    how: str, system: FakeSystem, microphone: Microphone, clock: FakeClock
) -> None:
    system.play(noise(0.4, RATE, 2))
    last = clock.now
    system.devices, system.first_sounds[2] = [], noise(0.2, RATE, 1)
    if how == "unplugged":
        system.unplug()
    events = read_until(microphone, notices_of)
    text = "no sound comes from USB Audio any more: waiting for it to come back"
    assert notices_of(events) == [SourceNotice(text, is_problem=True)]
    assert len(samples_of(events)) == 6400  # what the resampler held is not forgotten
    assert len(system.streams) == 1
    clock.now += 5.0
    back = clock.now
    system.devices = [InputDevice(4, "USB Audio", "ALSA", 16000, 1, True)]  # it may be another now
    gap, notice, chunk, *_ = read_until(microphone, lambda events: len(samples_of(events)) > 3000)
    assert notice == SourceNotice("sound again from USB Audio, 16000 Hz, 1 channel", is_problem=False)
    assert isinstance(gap, AudioGap)
    assert isinstance(chunk, AudioChunk)
    assert gap.samples / 16000 == pytest.approx(back - BLOCK_S - last, abs=1e-4)
    assert microphone.description == "USB Audio, 16000 Hz, 1 channel"
    assert microphone.xruns == 1
    assert system.refreshed > 0
    microphone.close()
    assert all(stream.closed for stream in system.streams)


def test_a_device_that_opens_and_stays_mute_is_tried_again_without_another_notice(
    system: FakeSystem, microphone: Microphone
) -> None:
    system.first_sounds[3] = noise(0.2, RATE, 2)
    events = read_until(microphone, has_recovered)
    assert [notice.is_problem for notice in notices_of(events)] == [True, False]
    assert len(system.streams) == 3
    assert microphone.xruns == 1
    assert gaps_of(events) == []  # there was nothing before it


def test_an_index_still_means_the_device_that_it_meant_at_the_start() -> None:
    usb, other = InputDevice(1, "USB Audio", "ALSA", RATE, 2, False), InputDevice(0, "HDA", "ALSA", RATE, 2, True)
    system = FakeSystem(other, usb)
    with Microphone("1", system=system, limits=QUICK) as microphone:
        system.unplug()
        system.devices = [InputDevice(1, "Webcam", "ALSA", RATE, 1, False), other]
        read_until(microphone, lambda _: system.refreshed >= 2)
        assert len(system.streams) == 1
        system.devices += [InputDevice(2, "USB Audio", "ALSA", RATE, 2, False)]
        read_until(microphone, lambda _: len(system.streams) == 2)
    assert system.opened[-1][0].index == 2


def test_a_sound_system_that_is_stuck_delays_neither_the_reader_nor_closing(system: FakeSystem) -> None:
    microphone = Microphone(system=system, limits=QUICK)
    system.unplug()
    system.can_open.clear()
    read_until(microphone, lambda _: system.refreshed > 0)
    assert isinstance(microphone.read(0.05), AudioChunk)
    microphone.close()
    assert microphone.read(1) is None
    assert len(system.streams) == 1  # it is stuck still
    system.can_open.set()
    while (closed := system.closings.get(timeout=TIMEOUT_S)) is system.streams[0]:
        pass
    assert closed is system.streams[1]


@pytest.mark.parametrize("value", [0.0, 1e-6])
def test_digital_silence_is_reported_once_and_so_is_its_end(
    value: float, system: FakeSystem, microphone: Microphone
) -> None:
    """The negative control: a microphone's own noise, however faint, is not digital silence."""
    system.play(np.full((RATE, 2), value, np.float32))
    if value:
        assert notices_of(read_until(microphone, lambda events: len(samples_of(events)) > 15000)) == []
        return
    text = "nothing but digital silence for 0.3 s: muted, or the wrong input?"
    assert notices_of(read_until(microphone, notices_of)) == [SourceNotice(text, is_problem=True)]
    system.play(np.zeros((RATE // 2, 2), np.float32))
    system.play(noise(0.1, RATE, 2))
    events = read_until(microphone, has_recovered)
    assert notices_of(events) == [SourceNotice("there is sound again", is_problem=False)]


def test_the_tap_gets_zeros_for_a_gap_up_to_a_limit(system: FakeSystem, clock: FakeClock) -> None:
    parts: list[NDArray[np.float32]] = []
    tap = lambda samples, rate: parts.append(samples)  # noqa: ARG005, E731
    with Microphone(system=system, limits=QUICK, tap=tap, clock=clock, sleep=clock.sleep) as microphone:
        system.play(noise(0.2, RATE, 2))
        devices, system.devices, system.first_sounds[2] = system.devices, [], noise(0.2, RATE, 2)
        read_until(microphone, notices_of)
        clock.now += 0.3
        system.devices = devices
        assert min(gaps_of(read_until(microphone, has_recovered))) > 0.3 * 16000
        read_until(microphone, lambda events: len(samples_of(events)) > 1000)
    tapped = np.concatenate(parts)
    assert len(tapped) == round((0.2 + 0.25 + 0.2) * RATE)
    assert not tapped[round(0.2 * RATE) : round(0.45 * RATE)].any()
    assert tapped[: round(0.2 * RATE)].any()
