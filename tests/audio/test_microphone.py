"""The microphone on a sound system of paper: which device, which samples, and what happens when it goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from streamtag.audio import backoff as retry
from streamtag.audio import device_stream as line
from streamtag.audio import microphone
from streamtag.audio.devices import Callback, InputDevice, OpenInput
from streamtag.audio.level_meter import SilenceMonitor
from streamtag.audio.microphone import Microphone
from streamtag.audio.source import AudioChunk, AudioGap, CaptureEvent, SourceNotice
from streamtag.errors import SourceError, SpecError

RATE = 48000


class PaperInput:
    def __init__(self, heard: Callback) -> None:
        self.heard = heard
        self.active = True
        self.closed = False

    @property
    def latency_s(self) -> float:
        return 0.03

    def close(self) -> None:
        self.active, self.closed = False, True


class PaperSystem:
    """Devices that play when the test says so."""

    def __init__(self, *devices: InputDevice) -> None:
        self.devices = list(devices) or [InputDevice(0, "USB Audio", "ALSA", RATE, 2, True)]
        self.opened: list[tuple[InputDevice, int, int]] = []
        self.streams: list[PaperInput] = []
        self.refreshed = 0
        self.refuses: str | None = None
        self.stuck = threading.Event()  # not set: opening takes for ever
        self.stuck.set()

    def inputs(self) -> list[InputDevice]:
        return list(self.devices)

    def open(self, device: InputDevice, channels: int, frames: int, heard: Callback) -> OpenInput:
        assert self.stuck.wait(20)
        if self.refuses is not None:
            raise SourceError(f"input {device.name}: cannot be opened: {self.refuses}")
        self.opened.append((device, channels, frames))
        self.streams.append(PaperInput(heard))
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
            self.streams[-1].heard(buffer, flagged and not start)
        buffer[:] = np.nan


def noise(seconds: float, channels: int = 2, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return (0.2 * random.standard_normal((round(seconds * RATE), channels))).astype(np.float32)


def taken(capture: Microphone, until: Callable[[list[CaptureEvent]], bool]) -> list[CaptureEvent]:
    """Pieces that tell something, until they are enough."""
    pieces: list[CaptureEvent] = []
    end = time.monotonic() + 15
    while not until(pieces):
        assert time.monotonic() < end, pieces
        piece = capture.read(0.02)
        assert piece is not None
        if not isinstance(piece, AudioChunk) or len(piece.samples):
            pieces.append(piece)
    return pieces


def sound_of(pieces: list[CaptureEvent]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(0, np.float32), *(p.samples for p in pieces if isinstance(p, AudioChunk))])


def notices_of(pieces: list[CaptureEvent]) -> list[SourceNotice]:
    return [piece for piece in pieces if isinstance(piece, SourceNotice)]


def is_back(pieces: list[CaptureEvent]) -> bool:
    return any(not notice.is_problem for notice in notices_of(pieces))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds, in tenths of them."""
    monkeypatch.setattr(microphone, "DEAD_S", 0.2)
    monkeypatch.setattr(microphone, "START_S", 0.3)
    monkeypatch.setattr(microphone, "FIRST_S", 0.02)
    monkeypatch.setattr(retry, "LAST_S", 0.1)
    monkeypatch.setattr(SilenceMonitor.__init__, "__defaults__", (0.3,))


@pytest.fixture
def system() -> PaperSystem:
    return PaperSystem()


@pytest.fixture
def capture(system: PaperSystem) -> Iterator[Microphone]:
    with Microphone(system=system) as capture:
        yield capture


def test_the_device_opens_at_its_own_rate_in_small_blocks(system: PaperSystem, capture: Microphone) -> None:
    assert system.opened == [(system.devices[0], 2, 480)]
    assert capture.name == "mic"
    assert capture.description == "USB Audio, 48000 Hz, 2 channels"
    assert capture.latency_s == 0.03
    assert capture.xruns == 0


def test_the_stream_is_the_mean_of_the_channels_at_16_khz(system: PaperSystem, capture: Microphone) -> None:
    sound = noise(2)
    system.play(sound)
    pieces = taken(capture, lambda pieces: len(sound_of(pieces)) > 31000)
    heard = sound_of(pieces)
    expected = soxr.resample(sound.mean(axis=1), RATE, 16000)
    np.testing.assert_allclose(heard, expected[: len(heard)], atol=1e-6)
    assert max(piece.peak for piece in pieces if isinstance(piece, AudioChunk)) == np.abs(sound).max()


def test_a_device_with_many_channels_is_not_mixed_from_empty_ones() -> None:
    system = PaperSystem(InputDevice(0, "default", "ALSA", 44100, 32, True))
    with Microphone(system=system):
        assert system.opened == [(system.devices[0], 2, 441)]


@pytest.mark.parametrize("channel", [1, 2, 3])
def test_one_channel_can_be_chosen(channel: int) -> None:
    system = PaperSystem(InputDevice(0, "Mixer", "ALSA", 16000, 4, True))
    sound = noise(0.5, channel)
    with Microphone(channel=channel, system=system) as capture:
        assert capture.description == f"Mixer, 16000 Hz, channel {channel}"
        system.play(sound)
        heard = sound_of(taken(capture, lambda pieces: len(sound_of(pieces)) >= 24000 - 160))
    np.testing.assert_array_equal(heard, sound[: len(heard), channel - 1])


def test_a_channel_that_is_not_there_is_refused() -> None:
    with pytest.raises(SourceError, match="USB Audio: has 2 channels, so no channel 3"):
        Microphone(channel=3, system=PaperSystem())
    with pytest.raises(SpecError, match="from 1"):
        Microphone(channel=0, system=PaperSystem())


def test_a_device_that_cannot_be_opened_at_the_start_is_an_error() -> None:
    system = PaperSystem()
    system.refuses = "device busy"
    with pytest.raises(SourceError, match="input USB Audio: cannot be opened: device busy"):
        Microphone(system=system)
    with pytest.raises(SourceError, match="no such input"):
        Microphone("violin", system=PaperSystem())


def test_a_taker_that_is_held_up_loses_what_the_ring_cannot_hold_and_is_told(
    system: PaperSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "RING_S", 0.5)
    with Microphone(system=system) as capture:
        system.play(noise(2))  # and nobody takes
        taken(capture, lambda pieces: len(sound_of(pieces)) > 7000)
        system.play(noise(0.5))
        pieces = taken(capture, lambda pieces: len(sound_of(pieces)) > 7000)
        assert capture.xruns == 1
    # what the resampler held comes first, and fills the half second
    (lost,) = [piece.samples for piece in pieces if isinstance(piece, AudioGap)]
    assert lost == 24000


@pytest.mark.usefixtures("quick")
def test_who_was_stopped_for_long_does_not_take_the_device_for_dead(system: PaperSystem) -> None:
    def play() -> None:
        for _ in range(150):
            system.play(noise(0.01))
            time.sleep(0.01)

    with Microphone(system=system) as capture:
        device = threading.Thread(target=play)
        device.start()
        for seconds in (0.1, 0.5, 0.9):
            taken(capture, lambda pieces: bool(sound_of(pieces).any()))
            time.sleep(seconds / 2)  # for some longer than a dead device would be waited for
        device.join()
        pieces = taken(capture, lambda pieces: bool(sound_of(pieces).any()))
        assert notices_of(pieces) == []
        assert len(system.streams) == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("how", ["pulled out", "stops calling back"])
def test_a_device_that_goes_is_told_looked_for_and_bridged_with_what_was_lost(how: str, system: PaperSystem) -> None:
    with Microphone(system=system) as capture:
        system.play(noise(0.2))
        system.play(noise(0.2))
        last = time.monotonic()
        if how == "pulled out":
            system.streams[-1].active = False
            system.devices = []
        pieces = taken(capture, lambda pieces: bool(notices_of(pieces)))
        (gone,) = notices_of(pieces)
        assert gone == SourceNotice(
            "no sound comes from USB Audio any more: waiting for it to come back", is_problem=True
        )
        assert len(sound_of(pieces)) == 6400  # what the resampler held is not forgotten
        assert len(system.streams) == 1
        system.devices = [InputDevice(4, "USB Audio", "ALSA", 16000, 1, True)]  # it may be another now
        taken(capture, lambda _: len(system.streams) > 1)
        time.sleep(0.1)
        system.play(noise(0.2, 1))
        back = time.monotonic()
        pieces = taken(capture, lambda pieces: len(sound_of(pieces)) > 3000)
        assert [type(piece) for piece in pieces[:3]] == [AudioGap, SourceNotice, AudioChunk]
        assert pieces[1] == SourceNotice("sound again from USB Audio, 16000 Hz, 1 channel", is_problem=False)
        assert isinstance(pieces[0], AudioGap)
        assert pieces[0].samples / 16000 == pytest.approx(back - last, abs=0.06)
        assert capture.description == "USB Audio, 16000 Hz, 1 channel"
        assert capture.xruns == 1
        assert system.refreshed > 0
        assert system.streams[0].closed
    assert system.streams[1].closed


@pytest.mark.usefixtures("quick")
def test_a_device_that_opens_and_stays_mute_is_tried_again_without_a_word_more(system: PaperSystem) -> None:
    with Microphone(system=system) as capture:
        pieces = taken(capture, lambda _: len(system.streams) >= 3)
        assert [notice.is_problem for notice in notices_of(pieces)] == [True]
        assert len(pieces) == 1
        system.play(noise(0.2))
        pieces = taken(capture, is_back)
        assert not any(isinstance(piece, AudioGap) for piece in pieces)  # there was nothing before it


@pytest.mark.usefixtures("quick")
def test_a_number_still_means_the_device_it_meant_at_the_start() -> None:
    usb, other = InputDevice(1, "USB Audio", "ALSA", RATE, 2, False), InputDevice(0, "HDA", "ALSA", RATE, 2, True)
    system = PaperSystem(other, usb)
    with Microphone("1", system=system) as capture:
        system.streams[-1].active = False
        system.devices = [InputDevice(1, "Webcam", "ALSA", RATE, 1, False), other]
        taken(capture, lambda _: system.refreshed >= 3)
        assert len(system.streams) == 1
        system.devices += [InputDevice(2, "USB Audio", "ALSA", RATE, 2, False)]
        taken(capture, lambda _: len(system.streams) == 2)
    assert system.opened[-1][0].index == 2


@pytest.mark.usefixtures("quick")
def test_a_system_that_is_stuck_holds_neither_the_taker_nor_the_end_up(
    system: PaperSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FAREWELL_S", 0.05)
    capture = Microphone(system=system)
    system.streams[-1].active = False
    system.stuck.clear()
    taken(capture, lambda _: system.refreshed > 0)
    began = time.monotonic()
    assert isinstance(capture.read(0.05), AudioChunk)
    capture.close()
    assert time.monotonic() - began < 5
    assert capture.read(1) is None
    system.stuck.set()  # what it opens now nobody wants
    until = time.monotonic() + 10
    while not (len(system.streams) == 2 and system.streams[1].closed):
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("value", [0.0, 1e-6])
def test_digital_silence_is_told_once_and_so_is_its_end(value: float, system: PaperSystem) -> None:
    """The negative control: a microphone's own noise, however faint, is none."""
    with Microphone(system=system) as capture:
        system.play(np.full((RATE, 2), value, np.float32))
        if value:
            pieces = taken(capture, lambda pieces: len(sound_of(pieces)) > 15000)
            assert capture.read(0.0) is not None
            assert notices_of(pieces) == []
            return
        (notice,) = notices_of(taken(capture, lambda pieces: bool(notices_of(pieces))))
        assert notice == SourceNotice(
            "nothing but digital silence for 0.3 s: muted, or the wrong input?", is_problem=True
        )
        system.play(np.zeros((RATE // 2, 2), np.float32))
        system.play(noise(0.1))
        (notice,) = notices_of(taken(capture, is_back))
        assert notice == SourceNotice("there is sound again", is_problem=False)


def test_samples_that_are_no_numbers_poison_nothing(system: PaperSystem, capture: Microphone) -> None:
    sound = noise(0.5)
    sound[1000:2000] = np.nan
    sound[3000, 0] = np.inf
    system.play(sound)
    pieces = taken(capture, lambda pieces: len(sound_of(pieces)) > 7000)
    assert np.isfinite(sound_of(pieces)).all()
    assert all(np.isfinite(piece.peak) for piece in pieces if isinstance(piece, AudioChunk))


@pytest.mark.usefixtures("quick")
def test_the_tee_gets_zeros_for_what_was_lost_but_not_a_night_of_them(
    system: PaperSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamtag.audio.resample.MAX_SILENCE_S", 0.25)
    parts: list[NDArray[np.float32]] = []
    with Microphone(system=system, tap=lambda samples, rate: parts.append(samples)) as capture:  # noqa: ARG005
        system.play(noise(0.2))
        taken(capture, lambda pieces: bool(notices_of(pieces)))
        taken(capture, lambda _: len(system.streams) > 1)
        time.sleep(0.15)
        system.play(noise(0.2))
        pieces = taken(capture, is_back)
        (lost,) = [piece.samples for piece in pieces if isinstance(piece, AudioGap)]
        taken(capture, lambda pieces: len(sound_of(pieces)) > 1000)
    teed = np.concatenate(parts)
    assert lost > 0.3 * 16000  # waited for it, and until it was found
    assert len(teed) == round((0.2 + 0.25 + 0.2) * RATE)
    assert not teed[round(0.2 * RATE) : round(0.45 * RATE)].any()
    assert teed[: round(0.2 * RATE)].any()
