"""Test signals for the benchmarks, and the printing of their results."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr
import torch

from streamtag.audio.resample import SAMPLE_RATE
from streamtag.model.cascade_kernel import COMPILED
from streamtag.scheduler.load import music

Figures = dict[str, Any]


def run_sections(
    sections: Mapping[str, Callable[[], Figures]], as_json: bool, device: str, **machine: Any
) -> dict[str, Figures]:
    """Run the sections in order, print their figures and return them by name; progress goes to standard error.

    machine: what else the figures depend on, besides the device and PyTorch's settings.
    """
    results: dict[str, Figures] = {}
    for name, measure in sections.items():
        print_progress(f"{name} ...")
        results[name] = measure()
        if not as_json:
            print_figures(name, results[name])
    results["machine"] = {
        **machine,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": device,
        "front_end": "compiled" if COMPILED else "PyTorch: it was installed without a C compiler",
        "load_average": round(os.getloadavg()[0], 2),
    }
    if as_json:
        print(json.dumps(results, indent=1))
    else:
        print_figures("machine", results["machine"])
    return results


def print_figures(name: str, figures: Figures) -> None:
    print(f"\n{name}")
    for key, value in figures.items():
        text = f"{value:.4g}" if isinstance(value, float) else "; ".join(value) if isinstance(value, list) else value
        print(f"  {key.replace('_', ' '):<28} {text}")


def print_progress(text: str) -> None:
    print(f"streamtag bench: {text}", file=sys.stderr, flush=True)


def write_mp3(path: Path, minutes: float) -> Path:
    """Write half a minute of music, repeated, as a stereo MP3 at 44.1 kHz and 128 kbit/s."""
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
