"""The latency of `listen` with a real loudspeaker that a microphone hears: by a cable, by air or a virtual monitor.

`python -m tests.benchmarks.loopback [MODEL [DEVICE [SECONDS]]]` prints the figures of `streamtag bench live` for it.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from streamtag.api import load
from streamtag.audio.devices import sound_library
from streamtag.audio.microphone import Microphone
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.audio.source import AudioChunk
from streamtag.cli.bench.live import PIECE_S, live
from streamtag.errors import SourceError
from streamtag.model.batched import torch_threads
from streamtag.scheduler.load import music

MIN_CORRELATION = 0.5  # of what was recorded with what was played


def correlation(recorded: NDArray[np.float32], played: NDArray[np.float32]) -> float:
    """Return the largest correlation of recorded [n] with played [m], repeated, over all delays: 0 to 1."""
    size = len(played)
    recorded = recorded[-size:]
    if len(recorded) < size:
        return 0.0
    product = np.fft.irfft(np.fft.rfft(recorded) * np.fft.rfft(played).conj(), size)
    norms = float(np.linalg.norm(recorded) * np.linalg.norm(played))
    return float(np.abs(product).max()) / norms if norms > 0 else 0.0


def play(library: Any, sound: NDArray[np.float32]) -> None:
    """Play sound [n] at 16 kHz repeatedly on the default output."""
    rate = int(library.query_devices(kind="output")["default_samplerate"])
    library.play(soxr.resample(sound, SAMPLE_RATE, rate), rate, loop=True)


def record(microphone: Microphone, samples: int) -> NDArray[np.float32]:
    """Return at least so many samples [n], fewer if too few arrive in time."""
    parts: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
    until = time.monotonic() + 2 * samples / SAMPLE_RATE + 2
    while sum(map(len, parts)) < samples and time.monotonic() < until:
        chunk = microphone.read(0.1)
        if isinstance(chunk, AudioChunk):
            parts.append(chunk.samples)
    return np.concatenate(parts)


def main(model: str | None = None, device: str = "cpu", seconds: str = "60") -> None:
    """Raises SourceError if there is no such microphone."""
    library = sound_library()
    test, sound = music(3.0), music(PIECE_S)
    with ExitStack() as resources:
        resources.enter_context(torch_threads(1))
        resources.callback(library.stop)
        play(library, test)
        microphone = Microphone()
        try:
            recorded = record(microphone, 2 * len(test))  # a loudspeaker may need seconds to begin
        finally:
            microphone.close()
        if correlation(recorded, test) < MIN_CORRELATION:
            raise SourceError("the microphone does not hear the loudspeaker")
        play(library, sound)
        figures = live(load(model, device), Microphone, float(seconds))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
