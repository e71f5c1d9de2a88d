"""A loudspeaker that a microphone hears: by a cable, through the air, or the monitor of a virtual sink."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from streamtag.audio.devices import sound_library
from streamtag.audio.microphone import Microphone
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.audio.source import AudioChunk
from streamtag.errors import SourceError

_NOTHING = np.zeros(0, np.float32)
LIKENESS = 0.5  # correlation of what was heard with what was played, from which on it counts as heard


@dataclass(frozen=True)
class Loopback:
    """The default output and input of PortAudio. rate: Hz, the output's own."""

    library: Any
    rate: int

    @classmethod
    def find(cls, sound: NDArray[np.float32]) -> Loopback | None:
        """Plays sound [n] at 16 kHz for a moment; None if there are no such devices, or the input does not hear it."""
        try:
            library = sound_library()
        except SourceError:
            return None
        try:
            found = cls(library, int(library.query_devices(kind="output")["default_samplerate"]))
            with found.playing(sound) as microphone:
                heard = _listened(microphone, 2 * len(sound))  # a loudspeaker may take seconds to begin
        except (SourceError, library.PortAudioError, ValueError):  # ValueError: no such kind of device
            return None
        return found if likeness(heard, sound) >= LIKENESS else None

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


def _listened(microphone: Microphone, samples: int) -> NDArray[np.float32]:
    """What it hears in the next while: [n], n at least `samples` if it works at all."""
    parts, length, until = [_NOTHING], 0, time.monotonic() + 2 * samples / SAMPLE_RATE + 2
    while length < samples and time.monotonic() < until:
        piece = microphone.read(0.1)
        if isinstance(piece, AudioChunk):
            parts.append(piece.samples)
            length += len(piece.samples)
    return np.concatenate(parts)


def likeness(heard: NDArray[np.float32], played: NDArray[np.float32]) -> float:
    """The largest correlation of heard [n] with played [m], which is played in a circle, over all delays: 0 to 1."""
    size = len(played)
    heard = heard[-size:]
    if len(heard) < size:
        return 0.0
    product = np.fft.irfft(np.fft.rfft(heard) * np.fft.rfft(played).conj(), size)
    norms = float(np.linalg.norm(heard) * np.linalg.norm(played))
    return float(np.abs(product).max()) / norms if norms > 0 else 0.0
