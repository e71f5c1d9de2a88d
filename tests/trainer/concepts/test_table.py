"""Tags that mean the same: MagnaTagATune's 50 are 36 concepts, and every tag belongs to one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import streamtag
from trainer.concepts.table import concepts_of, human_columns


def test_the_shipped_models_tags_are_36_concepts() -> None:
    tags = streamtag.load(device="cpu").tags
    concepts = {concept.name: concept for concept in concepts_of(tags)}
    assert len(concepts) == 36
    assert set(concepts["no vocals"].tags) == {"no vocals", "no vocal", "no voice"}
    assert set(concepts["vocals"].tags) == {"vocal", "vocals", "voice", "singing"}
    assert concepts["beat"].tags == ("beat", "beats")
    categories = {name: concepts[name].category for name in ("techno", "flute", "choir", "slow", "female vocals")}
    assert categories == {
        "techno": "genre", "flute": "instrument", "choir": "voice", "slow": "mood", "female vocals": "voice",
    }  # fmt: skip


@given(st.lists(st.sampled_from(("rock", "voice", "vocal", "beats", "jazz", "man", "classic")), unique=True))
def test_every_tag_belongs_to_one_concept(tags: list[str]) -> None:
    concepts = concepts_of(tags)
    assert sorted(tag for concept in concepts for tag in concept.tags) == sorted(tags)
    assert len({concept.name for concept in concepts}) == len(concepts)


def test_human_tags_that_mean_something_else_are_not_about_a_concept() -> None:
    (vocals, rock) = concepts_of(("vocal", "vocals", "voice", "singing", "rock"))
    human = ("vocal", "singer", "rock", "hard", "female")
    assert human_columns(vocals, human) == [0, 1]
    assert human_columns(rock, human) == [2]
