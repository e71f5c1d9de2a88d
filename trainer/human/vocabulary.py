"""Human tags in a model's words: a human tag stands for several of its tags, and is present if any of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamtag.model import ConceptMap
from streamtag.spec import ConceptSpec
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


def grouped(probabilities: Array, tags: Sequence[str], groups: Sequence[Sequence[str]]) -> Array:
    """Return the probabilities [..., K] that any tag of each group is present, of those of all `tags` [..., C]."""
    concepts = [ConceptSpec(str(number), "mood", tuple(group)) for number, group in enumerate(groups)]
    return ConceptMap(tags, concepts)(probabilities)
