"""What the parts of the GPU benchmark share: their settings, sizes for the real run and for the dry run, and timing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[3]
SHIPPED_MODEL = ROOT / "streamtag" / "weights" / "streamtag.safetensors"
SAMPLE_RATE, HOP = 16000, 4096
CLIP_SAMPLES = 465_600  # 29.1 s
MAGNATAGATUNE_CLIPS = 25_863
SYSTEM = "Scat-5L-512H-GRU"

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """out: folder for the model; pack: features to train on, or None; seconds: of the training run; is_dry: everything
    in miniature, on the CPU if there is no GPU."""

    out: Path
    pack: Path | None
    seconds: float
    is_dry: bool

    def size(self, real: T, dry: T) -> T:
        """Return the size for this run."""
        return dry if self.is_dry else real

    @property
    def device(self) -> torch.device:
        """The GPU; the CPU for a dry run without one."""
        import torch

        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def noise(rows: int, samples: int) -> NDArray[np.float32]:
    """Return [rows, samples] of noise; of many rows, every 256th is the same."""
    block = 0.1 * np.random.default_rng(0).standard_normal((min(rows, 256), samples), np.float32)
    return np.resize(block, (rows, samples))


def seconds_each(work: Callable[[], object], repeats: int) -> list[float]:
    """Return how long each run of the work takes until the device has done it, after one that is not counted."""
    from trainer.bench.measure import synchronize

    taken = []
    for _ in range(repeats + 1):
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        taken.append(time.perf_counter() - start)
    return taken[1:]


def peak_memory_gib() -> float | None:
    """Return the largest amount of the GPU's memory that was in use, in GiB; None without a GPU."""
    import torch

    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
