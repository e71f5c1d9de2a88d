"""Concepts: what is calculated, and which descriptions are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamtag.errors import SpecError
from streamtag.model.concepts import MIN_PROBABILITY, ConceptMap, default_concepts
from streamtag.spec import ConceptSpec

TAGS = ("guitar", "no vocals", "no vocal", "no voice", "odd")
CONCEPTS = (
    ConceptSpec("no vocals", "voice", ("no vocals", "no vocal", "no voice"), 1.7, -0.8, 0.4),
    ConceptSpec("guitar", "instrument", ("guitar",), threshold=None),
)


def expected(concept: ConceptSpec, probs: dict[str, float]) -> float:
    """The definition, in double precision and step by step."""
    none = 1.0
    for tag in concept.tags:
        none *= 1 - probs[tag]
    u = min(max(1 - none, 1e-6), 1 - 1e-6)
    return float(1 / (1 + np.exp(-(concept.scale * np.log(u / (1 - u)) + concept.offset))))


def test_the_probability_of_any_tag_is_calibrated() -> None:
    probs = np.random.default_rng(0).random((3, 7, 5)).astype(np.float32)
    probs[0, 0], probs[0, 1], probs[0, 2] = 0, 1, 1e-9
    found = ConceptMap(TAGS, CONCEPTS)(probs)
    assert found.shape == (3, 7, 2)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    for index in np.ndindex(3, 7):
        row = dict(zip(TAGS, probs[index].astype(float).tolist(), strict=True))
        assert found[index] == pytest.approx([expected(concept, row) for concept in CONCEPTS], abs=2e-6)


def test_synonyms_add_up_and_a_row_without_numbers_stays_one() -> None:
    concepts = ConceptMap(TAGS, [ConceptSpec("no vocals", "voice", TAGS[1:4])])
    weak = np.array([[0.9, 0.4, 0.4, 0.4, 0.9], [np.nan] * 5], np.float32)
    assert concepts(weak)[0, 0] == pytest.approx(1 - 0.6**3)
    assert np.isnan(concepts(weak)[1]).all()


def test_each_tag_is_its_own_concept_by_default() -> None:
    concepts = default_concepts(("guitar", "singing", "techno", "slow"), (0.3, 0.0, 1.0, 0.5))
    assert [concept.category for concept in concepts] == ["instrument", "voice", "genre", "mood"]
    assert [concept.tags for concept in concepts] == [("guitar",), ("singing",), ("techno",), ("slow",)]
    assert [concept.threshold for concept in concepts] == [0.3, MIN_PROBABILITY, 1 - MIN_PROBABILITY, 0.5]
    probs = np.array([0.0, 0.2, 1.0, 1e-9], np.float32)
    assert ConceptMap(("guitar", "singing", "techno", "slow"), concepts)(probs).tolist() == probs.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "name"),
        ({"name": 3}, "name"),
        ({"category": "colour"}, "category must be one of instrument, genre, voice, mood"),
        ({"tags": []}, "at least one"),
        ({"tags": ["guitar", "guitar"]}, "twice"),
        ({"tags": "guitar"}, "names"),
        ({"tags": [3]}, "names"),
        ({"scale": float("nan")}, "scale"),
        ({"offset": float("inf")}, "offset"),
        ({"offset": "0"}, "offset"),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 1}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_concept_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    values = {**CONCEPTS[0].to_dict(), "tags": list(CONCEPTS[0].tags)}
    assert ConceptSpec.from_dict(values) == CONCEPTS[0]
    with pytest.raises(SpecError, match=message) as caught:
        ConceptSpec.from_dict({**values, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("concepts", "message"),
    [
        ([], "at least one"),
        ([CONCEPTS[0], CONCEPTS[0]], "twice"),
        ([ConceptSpec("drums", "instrument", ("drums",))], "'drums' is not a tag"),
        ([ConceptSpec("guitar", "instrument", ("guitar",), scale=1e300)], "too large"),
    ],
)
def test_concepts_that_do_not_fit_the_tags_are_refused(concepts: list[ConceptSpec], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ConceptMap(TAGS, concepts)
