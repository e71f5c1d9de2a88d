"""The speed of whole files: compared with a published CNN, on one core and on all, and beside a busy process.

`python -m tests.benchmarks.whole_files [MODEL [MINUTES]]`. The CNN is the FCN of Choi et al. 2016 as Won et al. 2020
published it, its mel spectrogram included and decoding not; its weights are random, which takes as long. Ratios hold
within one run on an idle machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

from streamtag.api import Tagger, load
from streamtag.audio.decoder import open_source
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.cli.bench.figures import Figures, run_sections, write_mp3
from streamtag.model.batched import torch_threads
from tests.trainer.label.published_networks import published_network
from tests.trainer.label.synthetic_teachers import write_teachers

FCN_SAMPLES = 29 * SAMPLE_RATE  # a window of the FCN
REPEATS = 3
COMMAND_TIMEOUT_S = 1800.0
SPIN = "import os, sys\nos.sched_setaffinity(0, [int(sys.argv[1])])\nwhile True: pass"


def compare(tagger: Tagger, song: Path, folder: Path) -> Figures:
    """Measure `Tagger.tag` and the FCN on one core, and `Tagger.tag` on all cores."""
    fcn = published_network("fcn", write_teachers(folder / "teachers.safetensors"))
    with open_source(str(song)) as source:
        audio = torch.from_numpy(np.concatenate(list(source)))
    seconds = len(audio) / SAMPLE_RATE
    windows = audio[: len(audio) // FCN_SAMPLES * FCN_SAMPLES].reshape(-1, FCN_SAMPLES)
    with torch_threads(1), one_core():
        own_s, fcn_s = interleaved([lambda: tagger.tag(song), lambda: fcn(windows)])
    fcn_s *= len(audio) / windows.numel()  # of the remainder, too
    (all_s,) = interleaved([lambda: tagger.tag(song)])
    return {
        "one_core_times_real_time": seconds / own_s,
        "fcn_times_real_time": seconds / fcn_s,
        "ratio": fcn_s / own_s,
        "all_cores_times_real_time": seconds / all_s,
    }


def beside_a_busy_process(model: Path, song: Path, folder: Path) -> Figures:
    """Measure how much of its speed each command keeps while another process occupies one core."""
    music = folder / "music"
    music.mkdir()
    for number in range(8):
        (music / f"{number}.mp3").write_bytes(song.read_bytes())
    with open_source(str(song)) as source:
        pcm = folder / "song.pcm"
        pcm.write_bytes(np.concatenate([(32767 * chunk).astype("<i2") for chunk in source]).tobytes())
    options = ["--model", str(model), "--device", "cpu"]
    raw = ["--from", "-", "--rate", str(SAMPLE_RATE), "--format", "s16le", "--json"]
    commands: dict[str, Callable[[], object]] = {
        "file": partial(run, ["file", str(song), "--json", *options]),
        "catalog": lambda: run(["catalog", str(music), "--out", str(folder / f"{time.time_ns()}.csv"), *options]),
        "listen": partial(run, ["listen", *raw, *options], pcm),
    }
    figures: Figures = {}
    for name, command in commands.items():
        idle, busy = [], []
        for _ in range(REPEATS):
            idle += interleaved([command], repeats=1)
            with busy_core():
                busy += interleaved([command], repeats=1)
        figures[f"{name}_idle_s"], figures[f"{name}_busy_s"] = statistics.median(idle), statistics.median(busy)
        figures[f"{name}_percent_kept"] = 100 * statistics.median(idle) / statistics.median(busy)
    return figures


@contextmanager
def busy_core() -> Iterator[None]:
    """Let another process occupy the first core that this one may use."""
    process = subprocess.Popen([sys.executable, "-c", SPIN, str(min(os.sched_getaffinity(0)))])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread, and those that it starts, on one core: CPU time would count how they slow each other down."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [max(cores)])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def interleaved(functions: list[Callable[[], object]], repeats: int = REPEATS) -> list[float]:
    """Return the median seconds of each function."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            began = time.perf_counter()
            function()
            taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in times]


def run(arguments: list[str], stdin: Path | None = None) -> None:
    """Run a command of streamtag. Raises CalledProcessError."""
    command = [sys.executable, "-m", "streamtag.cli", *arguments]
    with Path(os.devnull if stdin is None else stdin).open("rb") as file:
        subprocess.run(command, check=True, capture_output=True, stdin=file, timeout=COMMAND_TIMEOUT_S)


def main(model: str | None = None, minutes: str = "4") -> None:
    tagger = load(model, "cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        song = write_mp3(folder / "song.mp3", float(minutes))
        sections = {
            "a whole MP3": lambda: compare(tagger, song, folder),
            "beside a busy process": lambda: beside_a_busy_process(tagger.path, song, folder),
        }
        run_sections(sections, True, tagger.device)


if __name__ == "__main__":
    main(*sys.argv[1:])
