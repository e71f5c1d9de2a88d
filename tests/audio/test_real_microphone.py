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
HEAR = Path(__file__).with_name("hear.py")


def noise(seconds: float) -> NDArray[np.float32]:
    """At 16 kHz; no two places of it are alike. Nothing above 1 kHz, so that half a sample is no matter."""
    sound = 0.2 * np.random.default_rng(8).standard_normal(round(seconds * 2000)).astype(np.float32)
    resampled: NDArray[np.float32] = soxr.resample(sound, 2000, 16000)
    return resampled


def listening(microphone: VirtualMicrophone, seconds: float, target: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(HEAR), str(seconds), str(target)]
    return subprocess.Popen(command, env=microphone.env, stdout=subprocess.PIPE, text=True)


def told(output: IO[str] | None, key: str) -> dict[str, Any]:
    """Reads what the process tells until it speaks of `key`."""
    assert output is not None
    for line in output:
        what: dict[str, Any] = json.loads(line)
        if key in what:
            return what
    raise AssertionError(f"it ended and told nothing of {key}")


def place(heard: NDArray[np.float32], played: NDArray[np.float32]) -> tuple[float, float]:
    """heard [n] -> where in `played` it comes from, s, and the correlation with it there."""
    size = 1 << (len(played) + len(heard)).bit_length()
    product = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(heard, size).conj(), size)[: len(played)]
    start = int(product.argmax())
    there = played[start : start + len(heard)]
    return start / 16000, float(np.corrcoef(heard[: len(there)], there)[0, 1])


def test_what_is_played_is_heard_and_stream_time_is_the_clocks(
    virtual_microphone: VirtualMicrophone, encode: Encode, tmp_path: Path
) -> None:
    sound = noise(60)
    wav = encode(tmp_path / "noise.wav", sound, 16000, "pcm_s16le")
    with virtual_microphone.playing(wav), listening(virtual_microphone, 6, tmp_path / "heard.npy") as process:
        start = told(process.stdout, "description")
        end = told(process.stdout, "xruns")
        assert process.wait(30) == 0
    assert start["description"].endswith("Hz, 2 channels")
    assert "16000" not in start["description"]  # the device's own rate
    assert 0 < start["latency_s"] < 0.5
    assert end["xruns"] == 0
    assert end["stream_s"] == pytest.approx(end["clock_s"], abs=0.1)
    heard = np.load(tmp_path / "heard.npy", allow_pickle=False)
    places = [place(heard[start : start + 16000], sound) for start in (16000, 48000, 79000)]
    assert min(correlation for _, correlation in places) > 0.99
    (first, _), (middle, _), (last, _) = places
    assert middle - first == pytest.approx(32000 / 16000, abs=0.002)
    assert last - middle == pytest.approx(31000 / 16000, abs=0.002)
    other = np.random.default_rng(9).standard_normal(16000).astype(np.float32)
    assert place(other, sound)[1] < 0.1  # the negative control


def test_a_sound_server_that_is_killed_and_comes_back_leaves_a_gap_of_true_length(
    own_microphone: VirtualMicrophone, encode: Encode, tmp_path: Path
) -> None:
    sound = noise(120)
    wav = encode(tmp_path / "noise.wav", sound, 16000, "pcm_s16le")
    with listening(own_microphone, 9, tmp_path / "heard.npy") as process:
        told(process.stdout, "begun")
        own_microphone.stop()
        gone = told(process.stdout, "notice")
        own_microphone.start()
        with own_microphone.playing(wav):
            lost = told(process.stdout, "lost_s")
            back = told(process.stdout, "notice")
            end = told(process.stdout, "xruns")
            assert process.wait(30) == 0
    assert gone["is_problem"]
    assert "no sound comes from" in gone["notice"]
    assert not back["is_problem"]
    assert "sound again from" in back["notice"]
    assert lost["lost_s"] > 0.3
    assert end["xruns"] >= 1
    assert end["stream_s"] == pytest.approx(end["clock_s"], abs=0.15)
    heard = np.load(tmp_path / "heard.npy", allow_pickle=False)
    assert place(heard[-16000:], sound)[1] > 0.99  # it hears again, not just silence


def test_devices_lists_it(virtual_microphone: VirtualMicrophone) -> None:
    command = [sys.executable, "-m", "streamtag.cli", "devices"]
    table = subprocess.run(command, env=virtual_microphone.env, capture_output=True, text=True, timeout=60, check=True)
    (line,) = [line for line in table.stdout.splitlines() if line.startswith("default")]
    assert "ALSA" in line
    assert "Hz" in line
    assert "monitor" in table.stdout
    as_json = subprocess.run(
        [*command, "--json"], env=virtual_microphone.env, capture_output=True, text=True, timeout=60, check=True
    )
    inputs = json.loads(as_json.stdout)
    (default,) = [device for device in inputs if device["default"]]
    assert default["name"] == "default"
    assert default["host_api"] == "ALSA"
    assert default["rate"] > 0
    assert default["channels"] > 0
