"""The speed of feature extraction from MP3 clips, compared with a loop over kymatio on the same clips and cores."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamtag.model.batched import torch_threads
from streamtag.text import usable_cores
from trainer.bench.measure import medians
from trainer.data.manifest import Clip, Manifest
from trainer.features.audio import decode, encode
from trainer.features.cache import Cache
from trainer.features.extraction import prepare
from trainer.features.frontends import FRONTENDS

CLIP_S, RATE, BIT_RATE = 29.1, 16000, 32000
TRANSFORM_REPEATS = 3
KYMATIO = {"J": 10, "Q": 8, "T": 1024}
Figures = dict[str, Any]


def extraction(
    clips: int,
    loop_clips: int,
    device: str = "cpu",
    clip_s: float = CLIP_S,
    fronts: Sequence[str] = tuple(FRONTENDS),
) -> Iterator[tuple[str, Figures]]:
    """Yield names and figures: each frontend from MP3 to cache on all cores, then the transform alone.

    `loop_clips` of the clips are also processed by the loop over kymatio.
    """
    with _synthetic_clips(clips, clip_s) as manifest:
        loop = kymatio_loop([clip.path for clip in manifest.clips[:loop_clips]])
        for front in fronts:
            yield (
                f"features: {front}, from MP3",
                _measure_pipeline(manifest, front, device, loop if front == "scattering" else None),
            )
        sounds = np.stack([_trim(decode(clip.path, RATE)) for clip in manifest.clips[:4]])
        yield "the transform alone, one thread", _measure_transform(torch.from_numpy(sounds))


def _measure_pipeline(manifest: Manifest, front: str, device: str, loop: Callable[[], int] | None) -> Figures:
    cores = usable_cores()
    with tempfile.TemporaryDirectory() as folder:
        warm = next(iter(manifest.clips)).clip_id
        few = manifest.without({clip.clip_id for clip in manifest.clips if clip.clip_id != warm})
        taken = []
        for part in (few, manifest):  # the first run measures the start of the processes
            cache = Cache(Path(folder) / str(len(part.clips)), part, front, seed=1)
            began = time.perf_counter()
            for _ in prepare(cache, 0, cores, device):
                pass
            taken.append(time.perf_counter() - began)
        size = sum(file.stat().st_size for file in cache.folder.iterdir())
    count = len(manifest.clips)
    ours = (count - 1) / max(1e-9, taken[1] - taken[0])
    figures: Figures = {
        "clips": count, "processes": cores, "device": device, "clips_per_s": ours, "seconds_to_start": taken[0],
        "hours_for_25863_clips": 25863 / ours / 3600, "bytes_per_clip": size / count,
    }  # fmt: skip
    if loop:
        began = time.perf_counter()
        done = loop()
        theirs = done / (time.perf_counter() - began)
        figures |= {
            "kymatio_loop_clips": done, "kymatio_loop_threads": torch.get_num_threads(),
            "kymatio_loop_clips_per_s": theirs, "times_kymatio_loop": ours / theirs,
        }  # fmt: skip
    return figures


def kymatio_loop(paths: list[Path]) -> Callable[[], int] | None:
    """Return a loop that decodes and transforms clip after clip, with filters built before; None without kymatio."""
    transform = _kymatio(_trim(decode(paths[0], RATE)).shape[0]) if paths else None
    if transform is None:
        return None

    def run() -> int:
        for path in paths:
            transform(torch.from_numpy(_trim(decode(path, RATE))))
        return len(paths)

    return run


def _measure_transform(sounds: torch.Tensor) -> Figures:
    theirs = _kymatio(sounds.shape[1])
    functions: list[Callable[[], object]] = [lambda: [FRONTENDS["scattering"].compute(sound[None]) for sound in sounds]]
    if theirs is not None:
        functions.append(lambda: [theirs(sound) for sound in sounds])
    with torch_threads(1), torch.inference_mode():
        taken = medians(functions, TRANSFORM_REPEATS)
    figures: Figures = {"clips": len(sounds), "clips_per_s": len(sounds) / taken[0]}
    if theirs is None:
        return {**figures, "kymatio": "cannot run here: it needs SciPy below 1.17"}
    return {**figures, "kymatio_clips_per_s": len(sounds) / taken[1], "times_kymatio": taken[1] / taken[0]}


def _kymatio(samples: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from kymatio.torch import Scattering1D
        except ImportError:  # kymatio 0.3 does not import with SciPy 1.17 and newer
            return None
        return Scattering1D(shape=samples, **KYMATIO)


def _trim(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Trim to a multiple of 4096 samples, as kymatio's hops require."""
    return samples[: len(samples) // 4096 * 4096]


@contextmanager
def _synthetic_clips(count: int, clip_s: float) -> Iterator[Manifest]:
    """Create a data set of MP3s in MagnaTagATune's format, of coloured noise."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        listed = []
        for number in range(count):
            noise = np.cumsum(rng.standard_normal(round(clip_s * RATE)))
            noise = np.diff(noise, prepend=0.0) + 0.02 * (noise - noise.mean()) / noise.std()
            path = Path(folder) / f"{number}.mp3"
            encode((0.1 * noise).astype(np.float32), RATE, "mp3", BIT_RATE, path)
            listed.append(Clip(str(number), "train", "all", path))
        targets = np.zeros((1, count, 1), dtype=np.float32)
        facts = np.zeros((count, 1), dtype=np.int8)
        yield Manifest(Path(folder), ("tag",), tuple(listed), targets, None, facts)
