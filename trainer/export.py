"""A finished run becomes a model file: weights, constants, thresholds, and a card that says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from streamtag.core import Normalization, Scattering, StackedGRU, Tagger
from streamtag.spec import ScatteringSpec
from trainer import metrics
from trainer.checkpoint import load
from trainer.config import TrainConfig
from trainer.manifest import Array, Manifest
from trainer.targets import clip_targets


def build(run: Path, manifest: Manifest, spec: ScatteringSpec, words: dict[str, Any]) -> Tagger:
    """The tagger of a run's best epoch, without thresholds yet (0.5 each). Raises ManifestError for a run
    without one."""
    tensors, meta = load(run / "best.safetensors")
    config = TrainConfig.from_dict(meta["config"])
    network = config.network(len(manifest.tags))
    normalization = Normalization(config.normalization, spec)
    normalization.fit(tensors["mean"], tensors["std"])
    gru = StackedGRU(network)
    gru.gru.load_state_dict({n.removeprefix("gru."): w for n, w in tensors.items() if n.startswith("gru.")})
    head = torch.nn.Linear(network.hidden, network.outputs)
    head.load_state_dict({n.removeprefix("head."): w for n, w in tensors.items() if n.startswith("head.")})
    halves = (0.5,) * len(manifest.tags)
    return Tagger(Scattering(spec), normalization, gru, head, manifest.tags, halves, describe(manifest, config, words))


def finish(tagger: Tagger, manifest: Manifest, split: str, whole: Array, figures: dict[str, Any]) -> Tagger:
    """The same tagger with the best F1 threshold of each tag, from a split's mean probabilities [n, C], and
    its figures."""
    levels = metrics.thresholds(whole, clip_targets(manifest)[manifest.split(split)])
    chosen = tuple(round(float(level), 4) for level in levels)
    card = {**tagger.card, "agreement": figures}
    return Tagger(tagger.scattering, tagger.normalization, tagger.gru, tagger.head, tagger.tags, chosen, card)


def describe(manifest: Manifest, config: TrainConfig, words: dict[str, Any]) -> dict[str, Any]:
    """What people should know about the weights: `words` (name, labels, licence) over plain defaults,
    sizes, settings."""
    splits = sorted({clip.split for clip in manifest.clips})
    return {
        "name": manifest.root.resolve().name,
        "labels": "the targets of the data set it was trained on",
        "licence": "not stated",
        **words,
        "clips": {split: len(manifest.split(split)) for split in splits},
        "training": config.to_dict(),
    }
