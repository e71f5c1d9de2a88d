"""The speed of `streamtag catalog` compared with `streamtag file` on the same files.

`python -m tests.benchmarks.catalog [MODEL [DEVICE [SECONDS]]]` runs both as a user does, with loading and tables, one
after the other, repeatedly. SECONDS: of sound in each file, about.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from streamtag.api import load
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.cli.bench.figures import Figures, run_sections, write_mp3
from streamtag.scheduler.load import music

FILES = 64
REPEATS = 3
COMMAND_TIMEOUT_S = 1800.0

Write = Callable[[Path, float], Path]


def compare(write: Write, seconds: float, options: list[str], files: int = FILES, repeats: int = REPEATS) -> Figures:
    """write: makes a file of so many seconds. options: of both commands."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "music"
        folder.mkdir()
        sounds = [write(Path(name) / f"{factor}.mp3", factor * seconds) for factor in (0.5, 1.0, 1.5)]
        for number in range(files):
            (folder / f"{number:03d}.mp3").write_bytes(sounds[number % len(sounds)].read_bytes())
        times: list[tuple[float, float]] = []
        for repeat in range(repeats):
            out = Path(name) / f"{repeat}.csv"
            catalog, summary = _run(["catalog", str(folder), "--out", str(out), *options])
            file, messages = _run(["file", str(folder), "--json", *options])
            times.append((catalog, file))
    ends = [message for line in messages.splitlines() if (message := json.loads(line))["type"] == "end"]
    sound_s = sum(float(message["seconds"]) for message in ends)
    catalog, file = (statistics.median(taken) for taken in zip(*times, strict=True))
    return {
        "minutes_of_sound": sound_s / 60,
        "catalog_s": catalog,
        "catalog_times_real_time": sound_s / catalog,
        "file_s": file,
        "file_times_real_time": sound_s / file,
        "ratio": file / catalog,
        "catalog_after_start_up": summary.strip().splitlines()[-1].rpartition(", ")[2],
    }


def write_mono(path: Path, seconds: float) -> Path:
    """Write an MP3 as data sets have them: 16 kHz, mono, 32 kbit/s."""
    samples = (music(seconds) * 32000).astype(np.int16)[None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = 32000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _run(arguments: list[str]) -> tuple[float, str]:
    """Return how many seconds the command took, and what it printed. Raises CalledProcessError."""
    command = [sys.executable, "-m", "streamtag.cli", *arguments]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
    return time.perf_counter() - began, done.stdout or done.stderr


def main(model: str | None = None, device: str = "cpu", seconds: str = "60") -> None:
    options = ["--model", str(load(model, "cpu").path), "--device", device]
    stereo: Write = lambda path, length: write_mp3(path, length / 60)  # noqa: E731
    sections = {
        f"{FILES} MP3s, 44.1 kHz stereo": lambda: compare(stereo, float(seconds), options),
        f"{FILES} MP3s, 16 kHz mono": lambda: compare(write_mono, float(seconds), options),
    }
    run_sections(sections, True, device)


if __name__ == "__main__":
    main(*sys.argv[1:])
