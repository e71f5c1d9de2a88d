"""Normalization of features before the network, with constants from the training set, for each kind of frontend."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from streamtag.model.normalization import Normalization, Normalizer, Standardization
from streamtag.spec import NormalizationSpec
from trainer.data.manifest import Array
from trainer.features.frontends import frontend


def normalizer(front: str, spec: NormalizationSpec) -> Normalizer:
    """Return the unfitted normalization of a frontend. Spectrograms are logarithms already and ignore `compression`."""
    chosen = frontend(front)
    return Normalization(spec, chosen.spec) if front == "scattering" else Standardization(chosen.size)  # type: ignore[arg-type]


def fit(normalize: Normalizer, clips: Iterable[Array]) -> None:
    """Set the mean and standard deviation to those of all frames of the clips [F, P]."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for frames in clips:
        raw = normalize.raw(torch.from_numpy(frames)).double()
        count, total, squares = count + len(raw), total + raw.sum(0), squares + (raw**2).sum(0)
    mean = total / count
    normalize.fit(mean.float(), (squares / count - mean**2).clamp(min=0.0).sqrt().float())
