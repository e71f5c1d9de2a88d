"""What the benches share: sounds to work on, and how figures are told."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soxr
import torch

from streamtag.audio.resample import SAMPLE_RATE

Figures = dict[str, Any]


def machine(device: str) -> Figures:
    """What the figures of a run depend on."""
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": device,
        "load_average": round(os.getloadavg()[0], 2),
    }


def resident_mib() -> float:
    """Memory of this process: what it has now where the system tells, else the most it ever had."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def music(seconds: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """Plucked chords over a pulse, with a little noise: [seconds * 16000] in [-1, 1]."""
    rng = np.random.default_rng(seed)
    sound = 0.002 * rng.standard_normal(int(seconds * SAMPLE_RATE))
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for start in range(0, len(sound) - SAMPLE_RATE, SAMPLE_RATE // 3):
        envelope = (1 - np.exp(-200 * t)) * np.exp(-rng.uniform(2, 9) * t)
        for pitch in 55.0 * 2 ** (rng.integers(0, 60, size=3) / 12):
            partials = np.arange(1, 1 + min(6, int(7500 // pitch)))[:, None]
            tone = (np.sin(2 * np.pi * pitch * partials * t) / partials**1.5).sum(axis=0)
            sound[start : start + SAMPLE_RATE] += 0.08 * envelope * tone
    return sound.astype(np.float32)


def write_mp3(path: Path, minutes: float) -> Path:
    """A stereo MP3 at 44.1 kHz and 128 kbit/s of a repeated half minute of music."""
    piece = soxr.resample(music(30.0), SAMPLE_RATE, 44100)
    samples = (np.stack([piece, piece]) * 32000).astype(np.int16).T.reshape(1, -1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=44100, layout="stereo")
        stream.bit_rate = 128000
        for _ in range(max(1, round(2 * minutes))):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout="stereo")
            frame.sample_rate = 44100
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def show(name: str, figures: Figures) -> None:
    print(f"\n{name}")
    for key, value in figures.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        print(f"  {key.replace('_', ' '):<28} {text}")


def say(text: str) -> None:
    """Progress, for people."""
    print(f"streamtag bench: {text}", file=sys.stderr, flush=True)
