"""A finished run becomes a model file: weights, constants, thresholds, and a card that says what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamtag.core import Normalization, Scattering, StackedGRU, Tagger
from streamtag.spec import ScatteringSpec
from trainer import metrics
from trainer.checkpoint import fitting, load
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
    mean, std = tensors.pop("mean"), tensors.pop("std")
    weights = _averaged(tensors, later)
    metas = [meta, *(load(other / "best.safetensors")[1] for other in later)]
    config, *others = (TrainConfig.from_dict(each["config"]) for each in metas)
    network = config.network(len(manifest.tags))
    normalization = Normalization(config.normalization, spec)
    normalization.fit(mean, std)
    gru = StackedGRU(network)
    gru.gru.load_state_dict({n.removeprefix("gru."): w for n, w in weights.items() if n.startswith("gru.")})
    head = torch.nn.Linear(network.hidden, network.outputs)
    head.load_state_dict({n.removeprefix("head."): w for n, w in weights.items() if n.startswith("head.")})
    halves = (0.5,) * len(manifest.tags)
    card = describe(manifest, config, words, others)
    return Tagger(Scattering(spec), normalization, gru, head, manifest.tags, halves, card)


def _averaged(weights: dict[str, Tensor], later: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of `weights` and the last averaged weights of other runs."""
    all_of_them = [weights]
    for run in later:
        tensors, _ = load(run / "checkpoint.safetensors")
        all_of_them.append(fitting(tensors, weights, "average.", run))
    return {name: torch.stack([w[name] for w in all_of_them]).mean(0) for name in weights}


def finish(tagger: Tagger, manifest: Manifest, split: str, whole: Array, figures: dict[str, Any]) -> Tagger:
    """The same tagger with the best F1 threshold of each tag, from a split's mean probabilities [n, C], and
    its figures."""
    levels = metrics.thresholds(whole, clip_targets(manifest)[manifest.split(split)])
    chosen = tuple(round(float(level), 4) for level in levels)
    card = {**tagger.card, "scored_on": figures["split"], "scores": figures["parts"], "per_tag": figures["tags"]}
    return Tagger(tagger.scattering, tagger.normalization, tagger.gru, tagger.head, tagger.tags, chosen, card)


def describe(
    manifest: Manifest, config: TrainConfig, words: dict[str, Any], others: Sequence[TrainConfig]
) -> dict[str, Any]:
    """What people should know about the weights: `words` (name, labels, licence) over plain defaults,
    sizes, settings, and what differs in the settings of the `others` that were averaged in."""
    splits = sorted({clip.split for clip in manifest.clips})
    return {
        "name": manifest.root.resolve().name,
        "labels": "the targets of the data set it was trained on",
        "licence": "not stated",
        **words,
        "clips": {split: len(manifest.split(split)) for split in splits},
        "training": config.to_dict(),
        **({"averaged_with": [_changes(config, other) for other in others]} if others else {}),
    }


def _changes(config: TrainConfig, other: TrainConfig) -> dict[str, Any]:
    """The settings of `other` that differ."""
    return {name: value for name, value in other.to_dict().items() if value != config.to_dict()[name]}
