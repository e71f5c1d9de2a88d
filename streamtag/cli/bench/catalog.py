"""`streamtag bench catalog`: how fast a collection is tagged, beside `streamtag file` on the same files.

Both are commands as a user starts them, loading and tables included, one after the other, again and again; ratios hold
within one run on one machine.
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
from streamtag.catalog.runner import listeners
from streamtag.cli.bench.measure import Figures, machine, music, say, show, write_mp3

FILES = 64
REPEATS = 3
LONGEST_S = 1800.0  # that one command may take

Write = Callable[[Path, float], Path]


def run(*, as_json: bool, model: Path | None, device: str, seconds: float) -> int:
    """Measures and prints; progress goes to stderr. seconds: of sound in each file, about. -> the exit code."""
    tagger = load(model, device)
    commons = ["--model", str(tagger.path), "--device", device]
    sections: dict[str, Write] = {
        f"{FILES} MP3s, 44.1 kHz stereo": lambda path, length: write_mp3(path, length / 60),
        f"{FILES} MP3s, 16 kHz mono": write_mono,
    }
    results: dict[str, Figures] = {}
    for name, write in sections.items():
        say(f"{name} of {seconds:g} s ...")
        results[name] = compare(write, seconds, commons)
        if not as_json:
            show(name, results[name])
    results["machine"] = {**machine(tagger.device), "listeners": listeners(tagger.device)}
    if as_json:
        print(json.dumps(results, indent=1))
    else:
        show("machine", results["machine"])
    return 0


def compare(write: Write, seconds: float, options: list[str], files: int = FILES, repeats: int = REPEATS) -> Figures:
    """write: makes a file of so many seconds. options: of both commands."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "music"
        folder.mkdir()
        kinds = [write(Path(name) / f"{factor}.mp3", factor * seconds) for factor in (0.5, 1.0, 1.5)]
        for number in range(files):
            (folder / f"{number:03d}.mp3").write_bytes(kinds[number % len(kinds)].read_bytes())
        times: list[tuple[float, float]] = []
        for repeat in range(repeats):
            out = Path(name) / f"{repeat}.csv"
            catalog, told = _timed(["catalog", str(folder), "--out", str(out), *options])
            file, printed = _timed(["file", str(folder), "--json", *options])
            times.append((catalog, file))
        heard = _seconds_heard(printed)
    catalog, file = (statistics.median(taken) for taken in zip(*times, strict=True))
    return {
        "minutes_of_sound": heard / 60,
        "catalog_s": catalog,
        "catalog_times_real_time": heard / catalog,
        "file_s": file,
        "file_times_real_time": heard / file,
        "ratio": file / catalog,
        "catalog_after_start_up": told.strip().splitlines()[-1].rpartition(", ")[2],
    }


def write_mono(path: Path, seconds: float) -> Path:
    """An MP3 as data sets have them: 16 kHz, mono, 32 kbit/s."""
    samples = (music(seconds) * 32000).astype(np.int16)[None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = 32000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _timed(arguments: list[str]) -> tuple[float, str]:
    """-> s, and what the command printed. Raises CalledProcessError."""
    command = [sys.executable, "-m", "streamtag.cli", *arguments]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONGEST_S)
    return time.perf_counter() - began, done.stdout or done.stderr


def _seconds_heard(lines: str) -> float:
    messages = map(json.loads, lines.splitlines())
    return sum(float(message["seconds"]) for message in messages if message["type"] == "end")
