"""A finished run becomes a model file: weights, constants, thresholds, and a card that says what it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamtag.core import Normalization, Scattering, StackedGRU, Tagger
from streamtag.errors import ManifestError
from streamtag.spec import ScatteringSpec
from trainer import metrics
from trainer.checkpoint import load
from trainer.config import TrainConfig
from trainer.manifest import Array, Manifest
from trainer.targets import clip_targets


def build(
    run: Path, manifest: Manifest, spec: ScatteringSpec, words: dict[str, Any], later: Sequence[Path] = ()
) -> Tagger:
    """The tagger of a run's best epoch, without thresholds yet (0.5 each).

    `later`: runs that began with its weights; their last weights are averaged with its own. Such an average
    depends less on which epoch happened to validate best (Wortsman et al. 2022, "Model soups").
    Raises ManifestError for a run without weights, or of another network.
    """
    tensors, meta = load(run / "best.safetensors")
    tensors = _averaged(tensors, later)
    config = TrainConfig.from_dict(meta["config"])
    network = config.network(len(manifest.tags))
    normalization = Normalization(config.normalization, spec)
    normalization.fit(tensors["mean"], tensors["std"])
    gru = StackedGRU(network)
    gru.gru.load_state_dict({n.removeprefix("gru."): w for n, w in tensors.items() if n.startswith("gru.")})
    head = torch.nn.Linear(network.hidden, network.outputs)
    head.load_state_dict({n.removeprefix("head."): w for n, w in tensors.items() if n.startswith("head.")})
    halves = (0.5,) * len(manifest.tags)
    configs = [config, *(TrainConfig.from_dict(json.loads((other / "config.json").read_text())) for other in later)]
    return Tagger(Scattering(spec), normalization, gru, head, manifest.tags, halves, describe(manifest, configs, words))


def _averaged(tensors: dict[str, Tensor], later: Sequence[Path]) -> dict[str, Tensor]:
    result = dict(tensors)
    for other in later:
        found, _ = load(other / "checkpoint.safetensors")
        for name in tensors:
            if name in ("mean", "std"):
                continue
            weight = found.get(f"average.{name}")
            if weight is None or weight.shape != tensors[name].shape:
                raise ManifestError(f"{other}: its weights are of another network")
            result[name] = result[name] + weight
    count = 1 + len(later)
    return {name: t if name in ("mean", "std") else t / count for name, t in result.items()}


def finish(tagger: Tagger, manifest: Manifest, split: str, whole: Array, figures: dict[str, Any]) -> Tagger:
    """The same tagger with the best F1 threshold of each tag, from a split's mean probabilities [n, C], and
    its figures."""
    levels = metrics.thresholds(whole, clip_targets(manifest)[manifest.split(split)])
    chosen = tuple(round(float(level), 4) for level in levels)
    card = {**tagger.card, "scored_on": figures["split"], "scores": figures["parts"], "per_tag": figures["tags"]}
    return Tagger(tagger.scattering, tagger.normalization, tagger.gru, tagger.head, tagger.tags, chosen, card)


def describe(manifest: Manifest, configs: Sequence[TrainConfig], words: dict[str, Any]) -> dict[str, Any]:
    """What people should know about the weights: `words` (name, labels, licence) over plain defaults,
    sizes, settings."""
    splits = sorted({clip.split for clip in manifest.clips})
    return {
        "name": manifest.root.resolve().name,
        "labels": "the targets of the data set it was trained on",
        "licence": "not stated",
        **words,
        "clips": {split: len(manifest.split(split)) for split in splits},
        "training": configs[0].to_dict(),
        **({"averaged_with": [_changes(configs[0], other) for other in configs[1:]]} if configs[1:] else {}),
    }


def _changes(config: TrainConfig, other: TrainConfig) -> dict[str, Any]:
    """The settings of `other` that differ."""
    return {name: value for name, value in other.to_dict().items() if value != config.to_dict()[name]}
