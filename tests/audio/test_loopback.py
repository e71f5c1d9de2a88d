"""What this machine plays: the monitors of a sound library. Real ones: test_real_sound_system."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.audio.devices import InputDevice, find_input
from streamtag.audio.loopback import OutputMonitors
from streamtag.errors import SourceError


class FakeDevice:
    """An output, its monitor, a microphone, and a recorder of ramps [n, channels] that ends after `blocks`."""

    def __init__(self, id: str, name: str, isloopback: bool = True, blocks: int = 3) -> None:
        self.id, self.name, self.isloopback, self.channels = id, name, isloopback, 2
        self.blocks, self.closed = blocks, threading.Event()

    def recorder(self, samplerate: int, channels: int, blocksize: int) -> FakeDevice:
        self.asked = samplerate, channels, blocksize
        return self

    def __enter__(self) -> FakeDevice:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()

    def record(self, numframes: int) -> NDArray[np.float64]:
        if not self.blocks:
            raise RuntimeError("the device is gone")
        self.blocks -= 1
        return np.tile(np.linspace(0, 1, numframes)[:, None], (1, self.asked[1]))


class FakeLibrary:
    """As the module soundcard. suffix: of a monitor's name in relation to its output: .monitor on Linux."""

    def __init__(self, suffix: str) -> None:
        self.devices = [
            FakeDevice("mic", "Microphone", isloopback=False),
            FakeDevice(f"hdmi{suffix}", "Monitor of HDMI"),
            FakeDevice(f"main{suffix}", "Monitor of Speakers"),
        ]

    def default_speaker(self) -> FakeDevice:
        return FakeDevice("main", "Speakers")

    def all_microphones(self, include_loopback: bool) -> list[FakeDevice]:
        return self.devices if include_loopback else self.devices[:1]

    def get_microphone(self, id: str, include_loopback: bool) -> FakeDevice:
        assert include_loopback
        return next(device for device in self.devices if device.id == id)


@pytest.mark.parametrize("suffix", [".monitor", ""])
def test_the_monitor_of_the_default_output_comes_first_and_others_are_found_by_name(suffix: str) -> None:
    inputs = OutputMonitors(FakeLibrary(suffix)).inputs()
    assert [device.name for device in inputs] == ["Monitor of Speakers", "Monitor of HDMI"]
    assert {(device.is_monitor, device.default, device.index) for device in inputs} == {(True, False, None)}
    assert find_input(None, inputs).name == "Monitor of Speakers"
    assert find_input("hdmi", inputs).name == "Monitor of HDMI"
    with pytest.raises(SourceError, match="no such input; there are: Monitor of Speakers, Monitor of HDMI"):
        find_input("usb", inputs)


def test_blocks_come_until_the_device_is_gone() -> None:
    library = FakeLibrary(".monitor")
    monitors, blocks = OutputMonitors(library), list[NDArray[np.float32]]()
    opened = monitors.open(monitors.inputs()[0], 1, 480, lambda samples, _: blocks.append(samples))
    main = library.devices[2]
    assert main.closed.wait(20)
    opened.close()
    assert not opened.is_active
    assert main.asked == (48000, 1, 480)
    assert [(block.shape, block.dtype) for block in blocks] == [((480, 1), np.dtype(np.float32))] * 3


def test_closing_stops_the_recorder() -> None:
    library = FakeLibrary(".monitor")
    library.devices[2].blocks = 1 << 60
    monitors, came = OutputMonitors(library), threading.Event()
    opened = monitors.open(monitors.inputs()[0], 2, 480, lambda *_: came.set())
    assert came.wait(20)
    assert opened.is_active
    opened.close()
    assert library.devices[2].closed.is_set()


def test_what_the_library_raises_is_an_error_in_one_line() -> None:
    monitors = OutputMonitors(object())
    with pytest.raises(SourceError, match="system sound: the outputs cannot be listed"):
        monitors.inputs()
    with pytest.raises(SourceError, match="system sound: x cannot be opened"):
        monitors.open(InputDevice(None, "x", "", 48000, 2, False), 2, 480, lambda *_: None)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SourceError, match="install a virtual device such as BlackHole"):
        OutputMonitors()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "soundcard", None)
    with pytest.raises(SourceError, match=r"needs SoundCard: pip install 'streamtag\[system\]'"):
        OutputMonitors()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("PULSE_SERVER", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(SourceError, match="the sound server does not run: no such file"):
        OutputMonitors()
