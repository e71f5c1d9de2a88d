"""`streamtag bench`: how fast it is here, against peers in the same run.

Times are medians of interleaved repetitions; ratios hold within one run on one machine, absolute times do not
travel. Every section runs in the process that asks for it, except start-up and memory, which need fresh ones.
"""

from __future__ import annotations

import json as json_format
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streamtag.api import Tagger, load
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.cli.bench.measure import Figures, machine, music, one_thread, say, show, write_mp3
from streamtag.inference.session import Session
from streamtag.model import Scattering

CLIP_S = 29.0


def run(*, json: bool = False, model: Path | None = None, device: str = "auto") -> int:
    """Measure everything and print it; progress goes to stderr. Returns the exit code."""
    tagger = load(model, device)
    sections: dict[str, Callable[[], Figures]] = {
        "front end, whole clips": lambda: front_end(tagger.network.scattering),
        "front end, one stream": lambda: streaming(tagger.network.scattering),
        "a hop through the whole network": lambda: hops(tagger),
        "a four-minute MP3": lambda: whole_file(tagger),
        "start-up": lambda: start_up(tagger),
        "peak memory": lambda: memory(tagger),
    }
    results: dict[str, Figures] = {"machine": machine(tagger.device)}
    for name, measure in sections.items():
        say(f"{name} ...")
        results[name] = measure()
        if not json:
            show(name, results[name])
    if json:
        print(json_format.dumps(results, indent=1))
    else:
        show("machine", results["machine"])
    return 0


def front_end(ours: Scattering, clips: int = 4) -> Figures:
    """Scattering of whole clips against kymatio.torch.Scattering1D on the same clips and threads.

    Errors are norms of the difference over norms per order, after the correction of kymatio's gain.
    """
    device = ours.fade.device
    audio = torch.from_numpy(np.stack([music(CLIP_S, seed) for seed in range(clips)])).to(device)
    hop = ours.spec.hop
    samples = (audio.shape[1] // hop - 1) * hop  # where kymatio's padding is a whole number of its own hops
    audio = audio[:, :samples].contiguous()
    seconds = clips * samples / SAMPLE_RATE
    theirs = _kymatio(samples)
    if theirs is None:
        mine = _median([lambda: ours(audio)])[0]
        return {"times_real_time": seconds / mine, "kymatio": "not available: pip install 'streamtag[bench]'"}
    transform, meta = theirs
    mine, other = _median([lambda: ours(audio), lambda: transform(audio.cpu())])
    gain = torch.tensor(2.0 ** np.nan_to_num(meta["j"]).sum(axis=1), dtype=torch.float32)
    reference = (transform(audio.cpu())[..., ::4].transpose(1, 2) * gain)[:, 6:-6]
    difference = ours(audio).cpu()[:, 6:-6] - reference
    errors = {
        f"S{order}_error": float(difference[..., paths].norm() / reference[..., paths].norm())
        for order in (1, 2)
        for paths in [torch.tensor(meta["order"] == order)]
    }
    return {
        "times_real_time": seconds / mine,
        "kymatio_times_real_time": seconds / other,
        "ratio": other / mine,
        **errors,
    }


def streaming(ours: Scattering) -> Figures:
    """Scattering hop by hop against the same transform of a whole clip, one stream, on one thread."""
    hop = ours.spec.hop
    audio = torch.from_numpy(music(CLIP_S))[None].to(ours.fade.device)
    frames = ours.spec.frame_count(audio.shape[1])
    chunks = [audio[:, n * hop : (n + 1) * hop] for n in range(frames - 1)]

    def stream() -> None:
        state = ours.initial_state(1)
        for chunk in chunks:
            _, state = ours.step(chunk, state)

    with one_thread(), torch.inference_mode():
        live, whole = _median([stream, lambda: ours(audio)])
    return {
        "ms_per_hop": 1e3 * live / len(chunks),
        "whole_clip_ms_per_hop": 1e3 * whole / frames,
        "ratio": (live / len(chunks)) / (whole / frames),
    }


def hops(tagger: Tagger, count: int = 300) -> Figures:
    """Time from a hop of sound to its frame, scattering and GRU, one stream on one thread."""
    session = Session(tagger)
    sound = music(CLIP_S)
    hop = tagger.network.spec.hop
    times = []
    with one_thread():
        session.feed(sound[: 4 * hop])
        for n in range(count):
            start = n % (len(sound) // hop - 1) * hop
            began = time.perf_counter()
            session.feed(sound[start : start + hop])
            times.append(1e3 * (time.perf_counter() - began))
    p50, p95, p99 = np.percentile(times, [50, 95, 99]).tolist()
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "available_ms": 1e3 * tagger.network.spec.hop_s}


def whole_file(tagger: Tagger, minutes: float = 4.0) -> Figures:
    """`Tagger.tag` of an MP3, decoding and resampling included, after start-up."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_mp3(Path(folder) / "song.mp3", minutes)
        (taken,) = _median([lambda: tagger.tag(str(path))], repeats=3)
    return {"seconds": taken, "times_real_time": 60 * minutes / taken}


START = """
import time; began = time.perf_counter()
import torch; torch_s = time.perf_counter() - began
import sys, streamtag
tagger = streamtag.load(sys.argv[1], sys.argv[2])
from streamtag.audio.decoder import open_source
session = streamtag.Session(tagger)
with open_source(sys.argv[3]) as source:
    for samples in source:
        if session.feed(samples): break
print(torch_s, time.perf_counter() - began - torch_s)
"""


def start_up(tagger: Tagger) -> Figures:
    """From the start of a process to the first frame of an MP3, beside `import torch`; and `streamtag --help`."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_mp3(Path(folder) / "song.mp3", 0.2)
        command = [sys.executable, "-c", START, str(tagger.path), tagger.device, str(path)]
        runs = [_timed(command) for _ in range(4)][1:]  # the first one warms the disk cache
    helps = [_timed([sys.executable, "-m", "streamtag.cli", "--help"])[0] for _ in range(3)]
    inside = [[float(word) for word in output.split()] for _, output in runs]
    return {
        "import_torch_s": statistics.median(torch_s for torch_s, _ in inside),
        "first_frame_after_torch_s": statistics.median(rest for _, rest in inside),
        "process_s": statistics.median(total for total, _ in runs),
        "help_s": statistics.median(helps),
    }


MEMORY = """
import pathlib, resource, sys, streamtag
streamtag.load(sys.argv[1], sys.argv[2]).tag(sys.argv[3])
status = pathlib.Path("/proc/self/status")
if status.exists():  # ru_maxrss would begin with the size of the process that started this one
    print(int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024))
"""


def memory(tagger: Tagger, short: float = 2.0, long: float = 60.0) -> Figures:
    """Peak resident memory of processes that tag an MP3 of so many minutes."""
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (short, long):
            path = write_mp3(Path(folder) / "song.mp3", minutes)
            command = [sys.executable, "-c", MEMORY, str(tagger.path), tagger.device, str(path)]
            peaks.append(float(_timed(command)[1]))
    return {
        f"{short:g}_minutes_mib": peaks[0],
        f"{long:g}_minutes_mib": peaks[1],
        "difference_mib": peaks[1] - peaks[0],
    }


def _median(functions: list[Callable[[], object]], repeats: int = 5) -> list[float]:
    """Seconds of each function: the median of interleaved runs, each after one that does not count."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            function()
            began = time.perf_counter()
            function()
            taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in times]


def _timed(command: list[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return time.perf_counter() - began, done.stdout


def _kymatio(samples: int) -> tuple[Any, Any] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from kymatio.torch import Scattering1D
        except ImportError:  # kymatio 0.3 does not import with SciPy 1.17 and newer
            return None
        transform = Scattering1D(J=10, shape=samples, Q=8, T=1024)
    return transform, transform.meta()
