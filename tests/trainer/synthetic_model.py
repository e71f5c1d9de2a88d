"""A system with a known memory, a data set without sound, and its figures there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.data.manifest import Clip, Manifest
from trainer.evaluate.evaluated_model import EvaluatedModel, from_streaming
from trainer.evaluate.figures import Options, evaluate

HOP_S, FRAMES, LOOKAHEAD_S = 0.256, 114, 0.384


class LeakyIntegrator:
    """Returns the fading mean of its input; `keep` is the share that remains from frame to frame."""

    def __init__(self, keep: float, tags: int = 2) -> None:
        self.keep, self.tags = keep, tags

    def initial_state(self, streams: int) -> Tensor:
        return torch.zeros(streams, self.tags)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for frame in x.unbind(1):
            state = self.keep * state + (1 - self.keep) * frame
            outputs.append(torch.sigmoid(state))
        return torch.stack(outputs, dim=1), state

    def output_count(self, frames: int) -> int:
        return frames


def set_without_sound(clips: int, tags: Sequence[str], description: str = "made up") -> Manifest:
    """A third of the clips each in train, valid and test; eight artists in each; tags at random, the first often."""
    rng = np.random.default_rng(0)
    shares = np.linspace(0.4, 0.1, len(tags))
    given = (rng.random((clips, len(tags))) < shares).astype(np.float32)
    splits = ("train", "valid", "test")
    listed = tuple(
        Clip(str(n), splits[n % 3], "all", Path(f"{n}.mp3"), f"{splits[n % 3]} {n // 3 % 8}") for n in range(clips)
    )
    return Manifest(
        Path("nowhere"), tuple(tags), listed, given[None], None, np.zeros(given.shape, np.int8), description
    )


def evaluated_model(manifest: Manifest, keep: float, name: str) -> EvaluatedModel:
    """Return a leaky integrator on noise with a level for each tag; the second tag also follows the first."""
    rng = np.random.default_rng(1)
    given = manifest.teachers[0]
    sounds = rng.normal(size=(len(given), FRAMES, given.shape[1])) * 1.5
    sounds += 0.35 * (2 * given[:, None] - 1) - 1.0
    sounds[:, :, 1] += 1.5 * given[:, None, 0]
    sounds = sounds.astype(np.float32)
    info = {"name": name, "system": name, "kind": "run", "parameters": 7_776_306}
    return from_streaming(LeakyIntegrator(keep, given.shape[1]), sounds.__getitem__, info, HOP_S, LOOKAHEAD_S)


def result(manifest: Manifest, keep: float, name: str, **options: Any) -> dict[str, Any]:
    return evaluate(evaluated_model(manifest, keep, name), manifest, "test", Options(**{"draws": 50, **options}))[0]
