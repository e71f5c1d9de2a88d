"""A finished model on real audio: clips are tagged as a user's files are, and compared with the targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from streamtag.core import Tagger
from streamtag.errors import ManifestError
from trainer import metrics
from trainer.audio import decode
from trainer.manifest import Array, Manifest
from trainer.targets import clip_targets

EARLY_S = 3.0


def predict(tagger: Tagger, manifest: Manifest, split: str) -> Iterator[tuple[Array, Array]]:
    """Mean probabilities [C] of the whole clip and of its first 3 s, clip after clip of a split."""
    if tagger.tags != manifest.tags:
        raise ManifestError(f"{manifest.root}: its tags are not those of the model")
    early = max(1, round(EARLY_S / tagger.spec.hop_s))
    for index in manifest.split(split):
        samples = decode(manifest.clips[index].path, tagger.spec.sample_rate)
        with torch.inference_mode():
            probabilities = tagger.forward(torch.from_numpy(samples)[None])[0].numpy()
        yield probabilities.mean(axis=0), probabilities[:early].mean(axis=0)


def report(manifest: Manifest, split: str, whole: Array, early: Array) -> dict[str, Any]:
    """All figures as JSON-ready numbers: over all clips, by kind, and by tag. None: cannot be scored."""
    clips = manifest.split(split)
    targets = clip_targets(manifest)[clips]
    kinds = np.array([manifest.clips[i].kind for i in clips])
    parts = {"all": np.ones(len(clips), dtype=np.bool_)}
    if len(set(kinds)) > 1:
        parts |= {kind: kinds == kind for kind in sorted(set(kinds))}
    result: dict[str, Any] = {"split": split}
    result["parts"] = {name: _part(whole[p], early[p], targets[p]) for name, p in parts.items()}
    scores, close = metrics.score(whole, targets), metrics.agreement(whole, targets)
    result["tags"] = {
        tag: {
            "positives": int((targets[:, c] >= metrics.POSITIVE).sum()),
            "roc_auc": _number(scores.roc_auc_by_tag[c]),
            "pr_auc": _number(scores.pr_auc_by_tag[c]),
            "difference": _number(close.difference_by_tag[c]),
            "correlation": _number(close.correlation_by_tag[c]),
        }
        for c, tag in enumerate(manifest.tags)
    }
    return result


def _part(whole: Array, early: Array, targets: Array) -> dict[str, Any]:
    scores, close = metrics.score(whole, targets), metrics.agreement(whole, targets)
    return {
        "clips": scores.clips,
        "scored_tags": scores.scored,
        "roc_auc": _number(scores.roc_auc),
        "pr_auc": _number(scores.pr_auc),
        "roc_auc_3s": _number(metrics.score(early, targets).roc_auc),
        "difference": _number(close.difference),
        "correlation": _number(close.correlation),
    }


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
