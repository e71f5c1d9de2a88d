"""A finished run becomes a model file: weights, constants, thresholds, and a card that says what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamtag.errors import ManifestError, SpecError
from streamtag.model import Scattering, TaggerNetwork
from streamtag.spec import ScatteringSpec
from trainer.data.manifest import Array, Manifest
from trainer.evaluate import metrics
from trainer.features.frontends import frontend
from trainer.run import BEST, load_run
from trainer.systems import SYSTEMS
from trainer.targets import clip_targets
from trainer.train.checkpoint import load
from trainer.train.config import TrainConfig

PER_TAG = ("positives", "roc_auc", "pr_auc", "difference", "correlation")  # figures on the card


def build(run: Path, manifest: Manifest, words: dict[str, Any], later: Sequence[Path] = ()) -> TaggerNetwork:
    """The tagger of a run's best epoch, without thresholds yet (0.5 each).

    `later`: runs that began with its weights; their last weights are averaged with its own. `words`: of the card.
    Raises ManifestError for a run without weights or on other tags, SpecError for a system that core cannot play.
    """
    trained = load_run(run, later)
    if trained.tags != manifest.tags:
        raise ManifestError(f"{run}: its tags are not those of {manifest.root}")
    spec = frontend(trained.system.front).spec
    if trained.system.cell != "GRU" or not trained.system.streams or not isinstance(spec, ScatteringSpec):
        raise SpecError(
            f"{run}: a model file holds scattering and a stack of GRUs, and this is {trained.system.name}: of the "
            f"systems by name {', '.join(exportable())} can be exported"
        )
    normalization, gru, head = trained.core_parts()
    others = [TrainConfig.from_dict(load(other / BEST)[1]["config"]) for other in later]
    halves = (0.5,) * len(manifest.tags)
    card = describe(manifest, trained.config, words, others)
    return TaggerNetwork(Scattering(spec), normalization, gru, head, manifest.tags, halves, card)


def exportable() -> list[str]:
    """The systems that fit into a model file."""
    return [name for name, each in SYSTEMS.items() if each.front == "scattering" and each.cell == "GRU"]


def finish(tagger: TaggerNetwork, manifest: Manifest, whole: Array, figures: dict[str, Any]) -> TaggerNetwork:
    """The same tagger with the best F1 threshold of each tag, from the mean probabilities [n, C] of the split that
    the figures are of, and with these."""
    split = figures["split"]
    levels = metrics.thresholds(whole, clip_targets(manifest)[manifest.split(split)])
    chosen = tuple(round(float(level), 4) for level in levels)
    per_tag = {tag: {key: row[key] for key in PER_TAG} for tag, row in figures["tags"].items()}
    card = {**tagger.card, "scored_on": split, "scores": figures["parts"], "per_tag": per_tag}
    return TaggerNetwork(tagger.scattering, tagger.normalization, tagger.gru, tagger.head, tagger.tags, chosen, card)


def describe(
    manifest: Manifest, config: TrainConfig, words: dict[str, Any], others: Sequence[TrainConfig]
) -> dict[str, Any]:
    """What people should know about the weights: `words` (name, labels, licence) over plain defaults,
    sizes, settings, and what differs in the settings of the `others` that were averaged in."""
    splits = sorted({clip.split for clip in manifest.clips})
    return {
        "name": f"{config.system} on {manifest.root.resolve().name}",
        "labels": "the targets of the data set it was trained on",
        "licence": "not stated",
        **({"trained_on": manifest.about} if manifest.about else {}),
        **words,
        "clips": {split: len(manifest.split(split)) for split in splits},
        "training": config.to_dict(),
        **({"averaged_with": [_changes(config, other) for other in others]} if others else {}),
    }


def _changes(config: TrainConfig, other: TrainConfig) -> dict[str, Any]:
    """The settings of `other` that differ."""
    return {name: value for name, value in other.to_dict().items() if value != config.to_dict()[name]}
