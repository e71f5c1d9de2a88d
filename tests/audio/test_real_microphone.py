"""The microphone on real PortAudio, over a PulseAudio of the tests' own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from tests.conftest import Encode

if TYPE_CHECKING:
    from tests.audio.virtual_microphone import VirtualMicrophone

RECORDER = """
import json, sys
import numpy as np
from streamtag.audio.microphone import Microphone
with Microphone() as microphone:
    chunks = []
    while sum(len(chunk.samples) for chunk in chunks) < 3 * 16000:
        chunk = microphone.read(0.1)
        chunks += [chunk] if len(chunk.samples) else []
    settled = chunks[len(chunks) // 3 :]
    error_s = settled[-1].arrival_time - settled[0].arrival_time - sum(len(c.samples) for c in settled[1:]) / 16000
    print(json.dumps([microphone.description, microphone.latency_s, microphone.xruns, error_s]))
np.save(sys.argv[1], np.concatenate([chunk.samples for chunk in chunks]), allow_pickle=False)
"""


def locate(part: NDArray[np.float32], sound: NDArray[np.float32]) -> tuple[float, float]:
    """Where in the sound a part [n] comes from, s, and the correlation with it there."""
    size = 1 << (len(sound) + len(part)).bit_length()
    product = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(part, size).conj(), size)[: len(sound)]
    start = int(product.argmax())
    original = sound[start : start + len(part)]
    return start / 16000, float(np.corrcoef(part[: len(original)], original)[0, 1])


def test_what_is_played_is_recorded_and_stream_time_is_the_clocks(
    virtual_microphone: VirtualMicrophone, encode: Encode, tmp_path: Path
) -> None:
    noise = 0.2 * np.random.default_rng(8).standard_normal(30 * 2000)  # nothing above 1 kHz: half a sample is little
    sound = soxr.resample(noise.astype(np.float32), 2000, 16000)
    wav, target = encode(tmp_path / "noise.wav", sound, 16000, "pcm_s16le"), tmp_path / "recorded.npy"
    command = [sys.executable, "-c", RECORDER, str(target)]
    with virtual_microphone.playing(wav):
        done = subprocess.run(command, env=virtual_microphone.env, capture_output=True, timeout=60, check=True)
    description, latency_s, xruns, error_s = json.loads(done.stdout.splitlines()[-1])
    recorded = np.load(target, allow_pickle=False)
    assert description.endswith("Hz, 2 channels")
    assert "16000" not in description  # the device's own rate
    assert 0 < latency_s < 0.5
    assert xruns == 0
    assert abs(error_s) < 0.1
    (first, likeness), (last, other) = (locate(recorded[at : at + 16000], sound) for at in (16000, 31000))
    assert min(likeness, other) > 0.99
    assert last - first == pytest.approx(15000 / 16000, abs=0.002)
    assert locate(np.random.default_rng(9).standard_normal(16000).astype(np.float32), sound)[1] < 0.1  # the control
