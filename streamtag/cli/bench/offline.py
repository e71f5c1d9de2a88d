"""The speed of the front end, of one hop and of a whole file.

Times are medians of interleaved repetitions. Ratios hold within one run on one machine; absolute times cannot be
compared between machines.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streamtag.api import Tagger
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.cli.bench.figures import Figures, run_sections, write_mp3
from streamtag.inference.session import Session
from streamtag.model import Scattering
from streamtag.model.batched import torch_threads
from streamtag.model.front_end import FrontEnd
from streamtag.scheduler.load import music

CLIP_S = 29.0


def run(tagger: Tagger, as_json: bool) -> None:
    """Measure everything and print it."""
    sections: dict[str, Callable[[], Figures]] = {
        "front end, whole clips": lambda: front_end(tagger.network.front_end),
        "a hop through the whole network": lambda: hops(tagger),
        "a four-minute MP3": lambda: whole_file(tagger),
    }
    run_sections(sections, as_json, tagger.device)


def front_end(scattering: FrontEnd[Any], clips: int = 4, clip_s: float = CLIP_S) -> Figures:
    """Compare the scattering of whole clips with kymatio.torch.Scattering1D on the same clips and threads.

    Other front ends are only timed.
    Errors are norms of the difference over norms per order, after the correction of kymatio's gain.
    """
    device = next(scattering.buffers()).device
    audio = torch.from_numpy(np.stack([music(clip_s, seed) for seed in range(clips)])).to(device)
    hop = scattering.spec.hop
    samples = (audio.shape[1] // hop - 1) * hop  # where kymatio's padding is a whole number of its own hops
    audio = audio[:, :samples].contiguous()
    seconds = clips * samples / SAMPLE_RATE
    kymatio = load_kymatio(samples) if isinstance(scattering, Scattering) else None
    if kymatio is None:
        (own_s,) = _median_times([lambda: scattering(audio)])
        missing = {"kymatio": "not available: pip install 'streamtag[bench]'"}
        return {"times_real_time": seconds / own_s, **(missing if isinstance(scattering, Scattering) else {})}
    transform, meta = kymatio
    own_s, kymatio_s = _median_times([lambda: scattering(audio), lambda: transform(audio.cpu())])
    gain = torch.tensor(2.0 ** np.nan_to_num(meta["j"]).sum(axis=1), dtype=torch.float32)
    reference = (transform(audio.cpu())[..., ::4].transpose(1, 2) * gain)[:, 6:-6]
    difference = scattering(audio).cpu()[:, 6:-6] - reference
    errors = {
        f"S{order}_error": float(difference[..., paths].norm() / reference[..., paths].norm())
        for order in (1, 2)
        for paths in [torch.tensor(meta["order"] == order)]
    }
    speeds = {"times_real_time": seconds / own_s, "kymatio_times_real_time": seconds / kymatio_s}
    return {**speeds, "ratio": kymatio_s / own_s, **errors}


def hops(tagger: Tagger, count: int = 300) -> Figures:
    """Measure the time from a hop of audio to its frame, scattering and GRU: one stream, one thread."""
    session = Session(tagger)
    audio = music(CLIP_S)
    hop = tagger.network.spec.hop
    times_ms = []
    with torch_threads(1):
        session.feed(audio[: 4 * hop])
        for n in range(count):
            start = n % (len(audio) // hop - 1) * hop
            began = time.perf_counter()
            session.feed(audio[start : start + hop])
            times_ms.append(1e3 * (time.perf_counter() - began))
    p50, p95, p99 = np.percentile(times_ms, [50, 95, 99]).tolist()
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "available_ms": 1e3 * tagger.network.spec.hop_s}


def whole_file(tagger: Tagger, minutes: float = 4.0) -> Figures:
    """Measure `Tagger.tag` of an MP3, with decoding and resampling, after start-up."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_mp3(Path(folder) / "song.mp3", minutes)
        (seconds,) = _median_times([lambda: tagger.tag(str(path))], repeats=3)
    return {"seconds": seconds, "times_real_time": 60 * minutes / seconds}


def load_kymatio(samples: int) -> tuple[Any, Any] | None:
    """Return kymatio's transform of so many samples and its meta(), or None if it cannot be imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from kymatio.torch import Scattering1D
        except ImportError:  # kymatio 0.3 does not import with SciPy 1.17 and newer
            return None
        transform = Scattering1D(J=10, shape=samples, Q=8, T=1024)
    return transform, transform.meta()


def _median_times(functions: Sequence[Callable[[], object]], repeats: int = 5) -> list[float]:
    """Return seconds of each function: the median of interleaved runs, each after an uncounted one."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, seconds in zip(functions, times, strict=True):
            function()
            began = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in times]
