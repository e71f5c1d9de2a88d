"""The microphone on real PortAudio, over a PulseAudio of the tests' own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tests.audio.virtual_microphone import VirtualMicrophone

Encode = Callable[..., Path]
LISTENER = Path(__file__).with_name("listener.py")


@pytest.fixture
def sound() -> NDArray[np.float32]:
    """30 s at 16 kHz; no two places are alike. Nothing above 1 kHz, so that half a sample does not matter."""
    noise = 0.2 * np.random.default_rng(8).standard_normal(30 * 2000).astype(np.float32)
    resampled: NDArray[np.float32] = soxr.resample(noise, 2000, 16000)
    return resampled


@pytest.fixture
def wav(sound: NDArray[np.float32], encode: Encode, tmp_path: Path) -> Path:
    return encode(tmp_path / "noise.wav", sound, 16000, "pcm_s16le")


def listening(microphone: VirtualMicrophone, seconds: float, target: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(LISTENER), str(seconds), str(target)]
    return subprocess.Popen(command, env=microphone.env, stdout=subprocess.PIPE, text=True)


def wait_for(output: IO[str] | None, key: str) -> dict[str, Any]:
    """Read the reports of the process up to the one with this key."""
    assert output is not None
    for line in output:
        report: dict[str, Any] = json.loads(line)
        if key in report:
            return report
    raise AssertionError(f"it ended and reported no {key}")


def locate(part: NDArray[np.float32], sound: NDArray[np.float32]) -> tuple[float, float]:
    """Where in the sound a part [n] comes from, s, and the correlation with it there."""
    size = 1 << (len(sound) + len(part)).bit_length()
    product = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(part, size).conj(), size)[: len(sound)]
    start = int(product.argmax())
    original = sound[start : start + len(part)]
    return start / 16000, float(np.corrcoef(part[: len(original)], original)[0, 1])


def test_what_is_played_is_recorded_and_stream_time_is_the_clocks(
    virtual_microphone: VirtualMicrophone, sound: NDArray[np.float32], wav: Path, tmp_path: Path
) -> None:
    target = tmp_path / "recorded.npy"
    with virtual_microphone.playing(wav), listening(virtual_microphone, 4, target) as process:
        start = wait_for(process.stdout, "description")
        end = wait_for(process.stdout, "xruns")
        assert process.wait(30) == 0
    assert start["description"].endswith("Hz, 2 channels")
    assert "16000" not in start["description"]  # the device's own rate
    assert 0 < start["latency_s"] < 0.5
    assert end["xruns"] == 0
    assert end["stream_s"] == pytest.approx(end["clock_s"], abs=0.1)
    recorded = np.load(target, allow_pickle=False)
    (first, likeness), (last, other) = (locate(recorded[at : at + 16000], sound) for at in (16000, 47000))
    assert min(likeness, other) > 0.99
    assert last - first == pytest.approx(31000 / 16000, abs=0.002)
    assert locate(np.random.default_rng(9).standard_normal(16000).astype(np.float32), sound)[1] < 0.1  # the control


@pytest.mark.slow
def test_a_sound_server_that_is_killed_and_comes_back_leaves_a_gap_of_true_length(
    own_microphone: VirtualMicrophone, sound: NDArray[np.float32], wav: Path, tmp_path: Path
) -> None:
    target = tmp_path / "recorded.npy"
    with listening(own_microphone, 9, target) as process:
        wait_for(process.stdout, "begun")
        own_microphone.stop()
        gone = wait_for(process.stdout, "notice")
        own_microphone.start()
        with own_microphone.playing(wav):
            gap = wait_for(process.stdout, "lost_s")
            back = wait_for(process.stdout, "notice")
            end = wait_for(process.stdout, "xruns")
            assert process.wait(30) == 0
    assert (gone["is_problem"], back["is_problem"]) == (True, False)
    assert "no sound comes from" in gone["notice"]
    assert "sound again from" in back["notice"]
    assert gap["lost_s"] > 0.3
    assert end["xruns"] >= 1
    assert end["stream_s"] == pytest.approx(end["clock_s"], abs=0.15)
    recorded = np.load(target, allow_pickle=False)
    assert locate(recorded[-16000:], sound)[1] > 0.99  # it records again, not just silence


def test_devices_lists_it(virtual_microphone: VirtualMicrophone) -> None:
    command = [sys.executable, "-m", "streamtag.cli", "devices", "--json"]
    done = subprocess.run(command, env=virtual_microphone.env, capture_output=True, text=True, timeout=60, check=True)
    (default,) = [device for device in json.loads(done.stdout) if device["default"]]
    assert (default["name"], default["host_api"]) == ("default", "ALSA")
    assert default["rate"] > 0
    assert default["channels"] > 0
