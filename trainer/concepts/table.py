"""Which tags mean the same to a listener: MagnaTagATune's 50 tags are 36 concepts.

A human tag of a Magnatune track stands for several of the model's tags, and is present if any of them is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamtag.model.concepts import TAG_CATEGORIES, ConceptMap
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


# Every other tag is a concept of its own.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "classical": members("classical"),
    "vocals": (*members("vocal"), *members("singer")),
    "no vocals": members("no_singer"),
    "female vocals": members("female"),
    "male vocals": members("male"),
    "choir": members("choir"),
    "beat": members("beat"),
}


def concepts_of(tags: Sequence[str]) -> tuple[ConceptSpec, ...]:
    """Return the concepts of a model's tags, not calibrated; every tag belongs to one of them."""
    name_of = {tag: name for name, group in SYNONYMS.items() for tag in group}
    groups: dict[str, list[str]] = {}
    for tag in tags:
        groups.setdefault(name_of.get(tag, tag), []).append(tag)
    return tuple(
        ConceptSpec(name, TAG_CATEGORIES.get(group[0], "mood"), tuple(group)) for name, group in groups.items()
    )


def human_columns(concept: ConceptSpec, human_tags: Sequence[str]) -> list[int]:
    """Return which of the human tags are about a concept: those that stand for nothing but its tags."""
    return [column for column, tag in enumerate(human_tags) if set(members(tag)) <= set(concept.tags)]


def grouped(probabilities: Array, tags: Sequence[str], groups: Sequence[Sequence[str]]) -> Array:
    """Return the probabilities [..., K] that any tag of each group is present, of those of all `tags` [..., C]."""
    concepts = [ConceptSpec(str(number), "mood", tuple(group)) for number, group in enumerate(groups)]
    return ConceptMap(tags, concepts)(probabilities)
