"""The virtual microphone itself: PortAudio hears what is played into it, and silence when nothing is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tests.audio.virtual_microphone import VirtualMicrophone

Encode = Callable[..., Path]
Tone = Callable[..., NDArray[np.float32]]

LISTEN = """
import sys, sounddevice
sound = sounddevice.rec(int(1.5 * 44100), 44100, channels=1, dtype="float32", blocking=True)
sys.stdout.buffer.write(sound.tobytes())
"""


def record(microphone: VirtualMicrophone) -> NDArray[np.float32]:
    done = subprocess.run(
        [sys.executable, "-c", LISTEN], env=microphone.env, capture_output=True, timeout=60, check=True
    )
    return np.frombuffer(done.stdout, np.float32)


@pytest.mark.parametrize("playing", [True, False])
def test_portaudio_hears_what_is_played_and_nothing_else(
    playing: bool, virtual_microphone: VirtualMicrophone, encode: Encode, tone: Tone, tmp_path: Path
) -> None:
    wav = encode(tmp_path / "tone.wav", tone(20, 48000, 1000.0), 48000, "pcm_s16le")
    if not playing:
        assert np.abs(record(virtual_microphone)).max() == 0
        return
    with virtual_microphone.playing(wav):
        sound = record(virtual_microphone)[22050:]
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert np.argmax(spectrum) * 44100 / len(sound) == pytest.approx(1000, abs=2)
    assert np.abs(sound).max() == pytest.approx(0.5, abs=0.02)
