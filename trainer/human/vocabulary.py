"""Human tags in a model's words: a human tag stands for several of its tags, and is present if any of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trainer.data.manifest import Array

# MagnaTagATune's synonyms, merged as in the human tags of Magnatune tracks. Other human tags have the model's name.
MERGED: Mapping[str, tuple[str, ...]] = {
    "beat": ("beat", "beats"),
    "choir": ("choir", "choral"),
    "classical": ("classical", "classic"),
    "drum": ("drums",),
    "electro": ("electronic",),
    "female": ("female", "woman", "female vocal", "female voice"),
    "heavy": ("metal",),
    "india": ("indian",),
    "male": ("male", "man", "male vocal", "male voice"),
    "no_singer": ("no vocals", "no vocal", "no voice"),
    "singer": ("singing",),
    "strange": ("weird",),
    "string": ("strings",),
    "vocal": ("vocal", "vocals", "voice"),
}


def members(human_tag: str) -> tuple[str, ...]:
    """Return the names of the model's tags that a human tag stands for."""
    return MERGED.get(human_tag, (human_tag.replace("_", " "),))


def any_of(probabilities: Array, columns: Sequence[int]) -> Array:
    """Return the probability 1 - Π(1 - p) [...] that any of some columns of `probabilities` [..., C] is present."""
    return np.asarray(1 - np.prod(1 - probabilities[..., list(columns)].astype(np.float64), axis=-1), dtype=np.float32)


def grouped(probabilities: Array, tags: Sequence[str], groups: Sequence[Sequence[str]]) -> Array:
    """Return the probabilities [..., K] that any tag of each group is present, of those of all `tags` [..., C].

    It is NaN for a group with a member that is not among the tags.
    """
    column = {tag: index for index, tag in enumerate(tags)}
    result = np.full((*probabilities.shape[:-1], len(groups)), np.nan, dtype=np.float32)
    for index, group in enumerate(groups):
        if all(tag in column for tag in group):
            result[..., index] = any_of(probabilities, [column[tag] for tag in group])
    return result
