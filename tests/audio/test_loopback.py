"""What this machine plays: the monitors of a sound library, and real ones of PulseAudio."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from streamtag.audio.devices import InputDevice, find_input
from streamtag.audio.loopback import OutputMonitors
from streamtag.errors import SourceError
from tests.audio.test_real_microphone import locate
from tests.cli.test_listen_to_a_microphone import samples
from tests.conftest import Encode

if TYPE_CHECKING:
    from tests.audio.virtual_microphone import VirtualMicrophone

Need = Callable[[str, bool, str], None]


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


# --- a real sound server ------------------------------------------------------------------------------------------

RECORDER = """
import sys
import numpy as np
from streamtag.audio.loopback import OutputMonitors
from streamtag.audio.microphone import Microphone
from streamtag.audio.source import AudioChunk, SourceNotice
wanted, chunks = float(sys.argv[2]), []
with Microphone(system=OutputMonitors()) as microphone:
    print(microphone.description, flush=True)
    while sum(len(chunk.samples) for chunk in chunks) < wanted * 16000:
        event = microphone.read(0.1)
        if isinstance(event, SourceNotice) and event.text:
            print(event.text, flush=True)
        chunks += [event] if isinstance(event, AudioChunk) else []
np.save(sys.argv[1], np.concatenate([chunk.samples for chunk in chunks]), allow_pickle=False)
"""


@pytest.fixture
def soundcard(need: Need) -> None:
    need("audio", importlib.util.find_spec("soundcard") is not None, "needs SoundCard: pip install 'streamtag[system]'")


@pytest.fixture
def noise(encode: Encode, tmp_path: Path) -> tuple[Path, NDArray[np.float32]]:
    """A file of 60 s, nothing above 1 kHz: half a sample is little."""
    slow = 0.2 * np.random.default_rng(8).standard_normal(60 * 2000)
    sound = soxr.resample(slow.astype(np.float32), 2000, 16000)
    return encode(tmp_path / "noise.wav", sound, 16000, "pcm_s16le"), sound


def _environment(microphone: VirtualMicrophone) -> dict[str, str]:
    """Return that of a program whose default input does not exist, so that only the output's monitor is heard."""
    return {**microphone.env, "PULSE_SOURCE": "nowhere"}


@pytest.mark.usefixtures("soundcard")
def test_what_is_played_to_the_default_output_is_recorded(
    virtual_microphone: VirtualMicrophone, noise: tuple[Path, NDArray[np.float32]], tmp_path: Path
) -> None:
    wav, sound = noise
    target = tmp_path / "recorded.npy"
    command = [sys.executable, "-c", RECORDER, str(target), "3"]
    with virtual_microphone.playing(wav):
        done = subprocess.run(
            command, env=_environment(virtual_microphone), capture_output=True, text=True, timeout=60, check=True
        )
    assert done.stdout.startswith("Monitor of Null Output, 48000 Hz, 2 channels")
    recorded = np.load(target, allow_pickle=False)
    (first, likeness), (last, other) = (locate(recorded[at : at + 16000], sound) for at in (16000, 31000))
    assert min(likeness, other) > 0.99
    assert last - first == pytest.approx(15000 / 16000, abs=0.002)


@pytest.mark.usefixtures("soundcard")
def test_devices_lists_inputs_and_monitors(virtual_microphone: VirtualMicrophone) -> None:
    command = [sys.executable, "-m", "streamtag.cli", "devices", "--json"]
    done = subprocess.run(command, env=virtual_microphone.env, capture_output=True, text=True, timeout=60, check=True)
    devices = json.loads(done.stdout)
    (monitor,) = [device for device in devices if device["is_monitor"]]
    assert (monitor["name"], monitor["index"], monitor["default"]) == ("Monitor of Null Output", None, False)
    (default,) = [device for device in devices if device["default"]]
    assert (default["name"], default["host_api"]) == ("default", "ALSA")
    assert default["rate"] > 0
    assert default["channels"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("soundcard")
def test_it_returns_after_a_restart_of_the_sound_server(own_microphone: VirtualMicrophone, tmp_path: Path) -> None:
    target = tmp_path / "recorded.npy"
    command = [sys.executable, "-c", RECORDER, str(target), "4"]
    process = subprocess.Popen(command, env=_environment(own_microphone), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Monitor of")
        own_microphone.stop()
        assert "waiting for it to come back" in process.stdout.readline()
        own_microphone.start()
        assert "sound again from Monitor of Null Output" in process.stdout.readline()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.usefixtures("soundcard")
def test_listen_tags_what_the_machine_plays(
    virtual_microphone: VirtualMicrophone, noise: tuple[Path, NDArray[np.float32]], tmp_path: Path, model: Path
) -> None:
    wav, sound = noise
    saved = tmp_path / "saved.wav"
    command = [sys.executable, "-m", "streamtag.cli", "listen", "--system", "--json", "--for", "3"]
    command += ["--model", str(model), "--save-audio", str(saved)]
    with virtual_microphone.playing(wav):
        done = subprocess.run(
            command, env=_environment(virtual_microphone), capture_output=True, text=True, timeout=120, check=True
        )
    messages: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert {message["stream"] for message in messages[1:]} == {"system"}
    assert sum(message["type"] == "frame" for message in messages) >= 10
    heard, rate = samples(saved)
    heard = soxr.resample(heard, rate, 16000)
    assert locate(heard[16000:32000], sound)[1] > 0.99
