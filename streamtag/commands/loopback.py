"""A loudspeaker that a microphone hears: by a cable, through the air, or the monitor of a virtual sink."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from streamtag.errors import SourceError
from streamtag.live.device import sound_library
from streamtag.live.microphone import Microphone
from streamtag.live.resample import SAMPLE_RATE

LIKENESS = 0.5  # correlation of what was heard with what was played, from which on it counts as heard


@dataclass(frozen=True)
class Loopback:
    """The default output and input of PortAudio. rate: Hz, the output's own."""

    library: Any
    rate: int

    @classmethod
    def find(cls, sound: NDArray[np.float32]) -> Loopback | None:
        """Plays sound [n] at 16 kHz once; None if there are no such devices, or the input does not hear it."""
        try:
            library = sound_library()
            rate = int(library.query_devices(kind="output")["default_samplerate"])
            played = soxr.resample(sound, SAMPLE_RATE, rate)
            heard = library.playrec(played, rate, channels=1, dtype="float32", blocking=True)[:, 0]
        except (SourceError, OSError, ValueError, RuntimeError):  # the library's own error is a RuntimeError or not
            return None
        return cls(library, rate) if likeness(heard, played) >= LIKENESS else None

    @contextmanager
    def playing(self, sound: NDArray[np.float32]) -> Iterator[Microphone]:
        """The microphone, while sound [n] at 16 kHz is played again and again."""
        self.library.play(soxr.resample(sound, SAMPLE_RATE, self.rate), self.rate, loop=True)
        microphone = Microphone()
        try:
            yield microphone
        finally:
            microphone.close()
            self.library.stop()


def likeness(heard: NDArray[np.float32], played: NDArray[np.float32]) -> float:
    """The largest correlation of heard [n] with played [m] over all delays, 0 to 1."""
    size = 1 << (len(heard) + len(played) - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.fft.rfft(played, size).conj(), size)
    norms = float(np.linalg.norm(heard) * np.linalg.norm(played))
    return float(np.abs(product).max()) / norms if norms > 0 else 0.0
