"""Turning a finished run into a model file: weights, constants, thresholds, calibrated concepts, and a model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamtag.errors import ManifestError
from streamtag.model import TaggerNetwork
from trainer.concepts.evidence import RENDERED, Evidence, from_teachers
from trainer.concepts.fit import ConceptFit, fit_concepts
from trainer.concepts.table import concepts_of
from trainer.data.manifest import Array, Manifest
from trainer.evaluate import metrics
from trainer.evaluate.figures import number
from trainer.evaluate.predictions import Predictions
from trainer.run import BEST, load_run
from trainer.targets import clip_targets
from trainer.train.checkpoint import load
from trainer.train.config import TrainConfig

HUMAN = (  # figures against people's tags, on the card
    *("tracks", "artists", "folds", "seed", "left_out_checked", "level", "scored_tags"),
    *("roc_auc", "roc_auc_interval", "pr_auc", "pr_auc_interval"),
)
PER_CONCEPT = ("positives", "roc_auc", "roc_auc_interval", "pr_auc", "pr_auc_interval")
PER_TAG = ("positives", "roc_auc", "pr_auc", "difference", "correlation")  # figures on the card


def build(run: Path, manifest: Manifest, words: dict[str, Any], later: Sequence[Path] = ()) -> TaggerNetwork:
    """Return the tagger of a run's best epoch, with thresholds of 0.5.

    `later` are runs that began with its weights; their last weights are averaged with its own. `words` are entries of
    the card. Raises ManifestError for a run without weights or with other tags.
    """
    trained = load_run(run, later)
    if trained.tags != manifest.tags:
        raise ManifestError(f"{run}: its tags are not those of {manifest.root}")
    parts = trained.model_parts()
    others = [TrainConfig.from_dict(load(other / BEST)[1]["config"]) for other in later]
    thresholds = (0.5,) * len(manifest.tags)
    card = make_card(manifest, trained.config, words, others)
    return TaggerNetwork(*parts, manifest.tags, thresholds, card)


def fit(
    tagger: TaggerNetwork, manifest: Manifest, split: str, predictions: Predictions, people: Evidence | None = None
) -> list[ConceptFit]:
    """Return the concepts of the tagger's tags, calibrated with its predictions for a split and with what people say.

    Raises ManifestError if there is neither: rendered clips are no evidence.
    """
    training = tagger.card["training"]
    concepts = concepts_of(tagger.tags)
    clips = manifest.split(split)
    teachers = from_teachers(predictions, manifest, clips, concepts, training["modulation"], training["lag_s"])
    if teachers is None and people is None:
        raise ManifestError(f"{manifest.root}: split {split!r} has rendered clips only: concepts cannot be calibrated")
    return fit_concepts(tagger.tags, concepts, teachers, people)


def finish(
    tagger: TaggerNetwork,
    manifest: Manifest,
    predicted: Array,
    figures: dict[str, Any],
    fits: Sequence[ConceptFit],
    human: dict[str, Any] | None = None,
) -> TaggerNetwork:
    """Return the tagger with calibrated concepts, figures on its card, and the threshold with the best F1 of each tag.

    `predicted` are the mean probabilities [n, C] of the split that the figures describe; `human` are the figures
    against people's tags, out of fold.
    """
    split = figures["split"]
    levels = metrics.thresholds(predicted, clip_targets(manifest)[manifest.split(split)])
    thresholds = tuple(round(float(level), 4) for level in levels)
    per_tag = {tag: {key: row[key] for key in PER_TAG} for tag, row in figures["tags"].items()}
    by_people = human["concepts"] if human else {}
    per_concept = {each.concept.name: {**_evidence(each), **_by_people(by_people, each)} for each in fits}
    scores = {
        kind: part for kind, part in figures["parts"].items() if kind != "all" or RENDERED not in figures["parts"]
    }
    card = {**tagger.card, "scored_on": split, "scores": scores, "per_tag": per_tag, "per_concept": per_concept}
    if human is not None:
        after = {f"roc_auc_{s:g}s": area for s, area in zip(*human["heard"].values(), strict=True)}
        card["human_tags_out_of_fold"] = {**{name: human[name] for name in HUMAN}, **after}
    parts = tagger.front_end, tagger.normalization, tagger.recurrent, tagger.head
    return TaggerNetwork(*parts, tagger.tags, thresholds, card, [each.concept for each in fits])


def _by_people(scores: Mapping[str, Mapping[str, Any]], fitted: ConceptFit) -> dict[str, Any]:
    """Return the scores of a concept against people's tags, or nothing where they never named it."""
    row = scores.get(fitted.concept.name, {})
    return {f"human_{name}": row[name] for name in PER_CONCEPT if row}


def _evidence(fitted: ConceptFit) -> dict[str, Any]:
    """Return what speaks for a concept; null stands for what is not known."""
    values = {"positives": fitted.positives, "roc_auc": fitted.roc_auc, "roc_auc_lower": fitted.roc_auc_lower}
    values |= {"precision": fitted.precision, "ece": fitted.ece, "ece_before": fitted.ece_before}
    return {"against": fitted.source or None, **{name: number(value) for name, value in values.items()}}


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
