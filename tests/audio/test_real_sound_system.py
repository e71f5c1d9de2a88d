"""Microphones on PortAudio, and what the machine plays, over a PulseAudio of the tests' own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from tests.cli.test_listen_to_a_microphone import samples
from tests.conftest import Need
from tests.sounds import Encode

if TYPE_CHECKING:
    from tests.audio.virtual_microphone import VirtualMicrophone

RECORDER = """
import json, sys
import numpy as np
from streamtag.audio.loopback import OutputMonitors
from streamtag.audio.microphone import Microphone
from streamtag.audio.source import AudioChunk, SourceNotice
kind, seconds, target = sys.argv[1:]
chunks = []
with Microphone(system=OutputMonitors() if kind == "monitor" else None) as microphone:
    print(microphone.description, flush=True)
    while sum(len(chunk.samples) for chunk in chunks) < float(seconds) * 16000:
        event = microphone.read(0.1)
        if isinstance(event, SourceNotice):
            print(event.text, flush=True)
        elif isinstance(event, AudioChunk) and len(event.samples):
            chunks.append(event)
    settled = chunks[len(chunks) // 3 :]
    error_s = settled[-1].arrival_time - settled[0].arrival_time - sum(len(c.samples) for c in settled[1:]) / 16000
    print(json.dumps([microphone.latency_s, microphone.xruns, error_s]))
np.save(target, np.concatenate([chunk.samples for chunk in chunks]), allow_pickle=False)
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


def locate(part: NDArray[np.float32], sound: NDArray[np.float32]) -> tuple[float, float]:
    """Where in the sound a part [n] comes from, s, and the correlation with it there."""
    size = 1 << (len(sound) + len(part)).bit_length()
    product = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(part, size).conj(), size)[: len(sound)]
    start = int(product.argmax())
    original = sound[start : start + len(part)]
    return start / 16000, float(np.corrcoef(part[: len(original)], original)[0, 1])


def environment(microphone: VirtualMicrophone, kind: str) -> Mapping[str, str]:
    """For a monitor that of a program whose default input does not exist, so that only the output is heard."""
    return {**microphone.env, "PULSE_SOURCE": "nowhere"} if kind == "monitor" else microphone.env


@pytest.mark.usefixtures("soundcard")
@pytest.mark.parametrize("kind", ["microphone", "monitor"])
def test_what_is_played_is_recorded_and_stream_time_is_the_clocks(
    kind: str, virtual_microphone: VirtualMicrophone, noise: tuple[Path, NDArray[np.float32]], tmp_path: Path
) -> None:
    (wav, sound), target = noise, tmp_path / "recorded.npy"
    command, env = [sys.executable, "-c", RECORDER, kind, "2", str(target)], environment(virtual_microphone, kind)
    with virtual_microphone.playing(wav):
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    description, *_, figures = done.stdout.splitlines()
    latency_s, xruns, error_s = json.loads(figures)
    recorded = np.load(target, allow_pickle=False)
    assert description.endswith("Hz, 2 channels")
    if kind == "monitor":
        assert description.startswith("Monitor of Null Output, 48000 Hz")
    else:
        assert "16000" not in description  # the device's own rate
        assert 0 < latency_s < 0.5
        assert xruns == 0
        assert abs(error_s) < 0.1
    (first, likeness), (last, other) = (locate(recorded[at : at + 8000], sound) for at in (8000, 23000))
    assert min(likeness, other) > 0.99
    assert last - first == pytest.approx(15000 / 16000, abs=0.002)
    assert locate(np.random.default_rng(9).standard_normal(16000).astype(np.float32), sound)[1] < 0.1  # the control


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
def test_a_monitor_returns_after_a_restart_of_the_sound_server(
    own_microphone: VirtualMicrophone, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", RECORDER, "monitor", "4", str(tmp_path / "recorded.npy")]
    env = environment(own_microphone, "monitor")
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
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
    (wav, sound), saved = noise, tmp_path / "saved.wav"
    command = [sys.executable, "-m", "streamtag.cli", "listen", "--system", "--json", "--for", "3"]
    command += ["--model", str(model), "--save-audio", str(saved)]
    env = environment(virtual_microphone, "monitor")
    with virtual_microphone.playing(wav):
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
    messages: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert {message["stream"] for message in messages[1:]} == {"system"}
    assert sum(message["type"] == "frame" for message in messages) >= 10
    heard, rate = samples(saved)
    heard = soxr.resample(heard, rate, 16000)
    assert locate(heard[16000:32000], sound)[1] > 0.99
