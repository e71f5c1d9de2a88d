"""Features of a data set in one small file, for training on a machine that has neither its sounds nor a decoder.

FILE (safetensors)  values [frames, P] uint8, clip after clip; low and step [P]: a value q of path p stands for
                    low[p] + q step[p], where the values of a path lie between low[p] and low[p] + 255 step[p]
                    frames [n]; teachers [K, n, C], facts [n, C], and windows [n, W, C] if the targets change over time
                    as JSON: the tags, the clips, the settings of the front end, the length of the windows

What is quantised are the logarithms that the network reads before standardisation: of S0 and S1, and of S2/S1. On
music a step is 0.04 standard deviations of its path, so the error is 0.011 (root mean square) and at most 0.03: less
than the noise that training adds. `pack` returns what it is for a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamtag.errors import ManifestError, SpecError
from streamtag.model.normalization import MIN_RATIO, Normalization
from streamtag.spec import NormalizationSpec, ScatteringSpec
from trainer.data.manifest import TRAIN, VALID, Clip, Manifest, WindowTargets
from trainer.features.augmentation import AudioAugmentation
from trainer.features.cache import Cache, Pass
from trainer.features.frontends import frontend
from trainer.train.checkpoint import load, save

MAX_BYTES = 40_000_000
VALID_SHARE = 0.15  # of the clips of a file that cannot hold all, or less if there are fewer
STEPS = 255  # between the smallest and the largest value
HEADER_BYTES, CLIP_BYTES = 1 << 15, 200  # of the description: the tags and settings, and a clip's names
MAX_HALF = 65504.0  # the largest number in half precision
FORMAT = "streamtag-features-1"


@dataclass(frozen=True)
class PackResult:
    """What was written: `clips` of the `available` ones, `size` in bytes, and the error in standard deviations of a
    path: the root mean square over all values, and the largest."""

    clips: int
    available: int
    size: int
    error_rms: float
    error_max: float


def pack(cache: Cache, file: Path, limit: int = MAX_BYTES, seed: int = 1) -> PackResult:
    """Write the unchanged training and validation clips, or as many random ones of them as `limit` bytes hold.

    Raises SpecError for features other than scattering, ManifestError if there are none, OutputError.
    """
    manifest = cache.manifest
    chosen, available = _choose(cache, limit, seed)
    clips = [manifest.clips[i] for i in chosen]
    features = [cache.read(0, clip.clip_id) for clip in clips]
    raw = _logarithms(cache.front.name).raw(torch.from_numpy(np.concatenate(features)))
    low = raw.amin(0)
    step = ((raw.amax(0) - low) / STEPS).clamp(min=1e-6)
    values = ((raw - low) / step).round().to(torch.uint8)
    error = (low + values * step - raw) / raw.std(0, correction=0).clamp(min=1e-6)
    tensors = {
        "values": values, "low": low, "step": step,
        "frames": torch.tensor([len(each) for each in features]),
        "teachers": torch.from_numpy(manifest.teachers[:, chosen].astype(np.float16)),
        "facts": torch.from_numpy(manifest.facts[chosen]),
    }  # fmt: skip
    windows = manifest.windows
    if windows:
        tensors["windows"] = torch.from_numpy(windows.values[chosen].astype(np.float16))
    description = {
        "format": FORMAT, "front": cache.front.name, "spec": cache.front.spec.to_dict(), "tags": list(manifest.tags),
        "clips": [[clip.clip_id, clip.split, clip.kind, clip.artist, clip.mixed_artist] for clip in clips],
        "description": manifest.description,
        "windows": [windows.window_s, windows.hop_s] if windows else None,
    }  # fmt: skip
    save(tensors, description, file)
    rms = float(error.square().mean().sqrt())
    return PackResult(len(chosen), available, file.stat().st_size, rms, float(error.abs().max()))


def _logarithms(front: str) -> Normalization:
    """Return the normalization whose `raw` values are stored. Raises SpecError for features other than scattering."""
    spec = frontend(front).spec
    if not isinstance(spec, ScatteringSpec):
        raise SpecError(f"only scattering features can be packed, not {front}")
    return Normalization(NormalizationSpec(compression="log"), spec)


def _choose(cache: Cache, limit: int, seed: int) -> tuple[NDArray[np.int64], int]:
    """Return the indices of the clips that fit, ascending, and how many there are."""
    manifest, spans = cache.manifest, cache.frames(0).spans
    windows = manifest.windows.values[0].size if manifest.windows else 0
    targets = 2 * (len(manifest.teachers) * len(manifest.tags) + windows) + len(manifest.tags)
    rng, room = np.random.default_rng(seed), limit - HEADER_BYTES
    valid, training = (rng.permutation(manifest.split(split)).tolist() for split in (VALID, TRAIN))
    chosen, taken = [], 0.0
    for clips, budget in ((valid, VALID_SHARE * room), (training, room)):
        for index in clips:
            first, end = spans[manifest.clips[index].clip_id]
            size = (end - first) * cache.front.size + targets + CLIP_BYTES
            if taken + size <= budget:
                chosen.append(index)
                taken += size
    return np.array(sorted(chosen), dtype=np.int64), len(valid) + len(training)


class PackedFeatures:
    """The clips of a packed file in place of a feature cache: one pass, kept in memory as a cache has it on the disk.

    `manifest`, `front`, `index` and `folder` are what a Cache has.
    """

    def __init__(self, file: Path) -> None:
        """Raises ManifestError if it is no such file, or of another front end than the trainer's."""
        tensors, meta = load(file)
        try:
            if meta["format"] != FORMAT:
                raise ValueError(f"its format is {meta['format']}")
            self.front, self.folder = frontend(meta["front"]), file
            if meta["spec"] != self.front.spec.to_dict():
                raise ValueError("its front end has other settings than the trainer's")
            self.manifest = _manifest(file, tensors, meta)
            values = _features(tensors, _logarithms(self.front.name))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ManifestError(f"{file}: no packed features of this version: {error}") from error
        ends = np.cumsum(tensors["frames"].numpy()).tolist()
        clips = self.manifest.clips
        spans = {clip.clip_id: span for clip, span in zip(clips, pairwise([0, *ends]), strict=True)}
        self._pass = Pass((values * self.front.scale).clip(0, MAX_HALF).astype(np.float16), spans)
        self.index = {clip.clip_id: i for i, clip in enumerate(clips)}

    def complete_passes(self) -> int:
        """Return the number of augmented passes: none."""
        return 0

    def frames(self, number: int) -> Pass:
        """Return pass 0. Raises ManifestError for another one."""
        if number:
            raise ManifestError(f"{self.folder}: packed features have no augmented passes")
        return self._pass

    def read(self, number: int, clip_id: str) -> NDArray[np.float32]:
        """Return the frames [F, P] of a clip."""
        start, stop = self.frames(number).spans[clip_id]
        return np.asarray(self._pass.values[start:stop], dtype=np.float32) / np.float32(self.front.scale)

    def augmentation(self, number: int, clip_id: str) -> AudioAugmentation:  # noqa: ARG002
        """Return no changes."""
        return AudioAugmentation()


def _manifest(file: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Manifest:
    clips = tuple(Clip(i, split, kind, file / i, artist, mixed) for i, split, kind, artist, mixed in meta["clips"])
    teachers = tensors["teachers"].float().numpy()
    windows = None
    if meta["windows"]:
        windows = WindowTargets(tensors["windows"].float().numpy(), *meta["windows"])
    if not len(clips) == teachers.shape[1] == len(tensors["frames"]) or len(meta["tags"]) != teachers.shape[2]:
        raise ValueError("its parts differ in length")
    return Manifest(file, tuple(meta["tags"]), clips, teachers, windows, tensors["facts"].numpy(), meta["description"])


def _features(tensors: dict[str, Tensor], logarithms: Normalization) -> NDArray[np.float32]:
    """Return the amplitudes [frames, P] whose logarithms are stored."""
    raw = tensors["low"] + tensors["values"] * tensors["step"]
    levels = raw[:, : 1 + logarithms.first].exp() - logarithms.spec.floor
    ratios = raw[:, 1 + logarithms.first :].exp() - MIN_RATIO
    values = torch.cat([levels, ratios * (levels[:, logarithms.parents] + logarithms.spec.floor)], dim=1)
    return values.clamp(min=0.0).numpy()
