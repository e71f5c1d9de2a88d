"""Turning a finished run into a model file: weights, constants, thresholds, and a model card."""

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
    """Return the tagger of a run's best epoch, with thresholds of 0.5.

    `later` are runs that began with its weights; their last weights are averaged with its own. `words` are entries of
    the card. Raises ManifestError for a run without weights or with other tags, and SpecError for a system that a model
    file cannot contain.
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
    normalization, gru, head = trained.model_parts()
    others = [TrainConfig.from_dict(load(other / BEST)[1]["config"]) for other in later]
    thresholds = (0.5,) * len(manifest.tags)
    card = make_card(manifest, trained.config, words, others)
    return TaggerNetwork(Scattering(spec), normalization, gru, head, manifest.tags, thresholds, card)


def exportable() -> list[str]:
    """Return the names of the systems that fit into a model file."""
    return [name for name, each in SYSTEMS.items() if each.front == "scattering" and each.cell == "GRU"]


def finish(tagger: TaggerNetwork, manifest: Manifest, predicted: Array, figures: dict[str, Any]) -> TaggerNetwork:
    """Return the tagger with the figures on its card, and the threshold with the best F1 for each tag.

    `predicted` are the mean probabilities [n, C] of the split that the figures describe.
    """
    split = figures["split"]
    levels = metrics.thresholds(predicted, clip_targets(manifest)[manifest.split(split)])
    thresholds = tuple(round(float(level), 4) for level in levels)
    per_tag = {tag: {key: row[key] for key in PER_TAG} for tag, row in figures["tags"].items()}
    card = {**tagger.card, "scored_on": split, "scores": figures["parts"], "per_tag": per_tag}
    return TaggerNetwork(
        tagger.scattering, tagger.normalization, tagger.gru, tagger.head, tagger.tags, thresholds, card
    )


def make_card(
    manifest: Manifest, config: TrainConfig, words: dict[str, Any], others: Sequence[TrainConfig]
) -> dict[str, Any]:
    """Return the model card: `words` (name, labels, licence) or plain defaults, the numbers of clips, the settings, and
    the settings of the `others` averaged in that differ."""
    splits = sorted({clip.split for clip in manifest.clips})
    own = config.to_dict()
    changed = [{name: value for name, value in other.to_dict().items() if value != own[name]} for other in others]
    return {
        "name": f"{config.system} on {manifest.root.resolve().name}",
        "labels": "the targets of the data set it was trained on",
        "licence": "not stated",
        **({"trained_on": manifest.description} if manifest.description else {}),
        **words,
        "clips": {split: len(manifest.split(split)) for split in splits},
        "training": own,
        **({"averaged_with": changed} if changed else {}),
    }
