"""Which tags mean the same to a listener: MagnaTagATune's 50 tags are 36 concepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamtag.model.concepts import TAG_CATEGORIES
from streamtag.spec import ConceptSpec
from trainer.human.vocabulary import members

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
