"""Concepts: tags that mean the same to a listener, with one calibrated probability.

MagnaTagATune's annotators wrote `no vocals`, `no vocal` and `no voice` for the same thing, so a network that is sure
of it splits its probability among three tags. The probability of "any of them" is what a listener means.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import SpecError
from streamtag.spec import ConceptSpec

MIN_PROBABILITY = 1e-6  # of "any of them", and of "none of them", before calibration
_MIN_TAG_COMPLEMENT = 2.0**-23  # keeps the logarithm of a tag with probability 1 finite
_MIN_LOG, _MAX_LOG = np.log(np.float32(MIN_PROBABILITY)), np.log1p(np.float32(-MIN_PROBABILITY))

# Of tags that a model file puts into no concept; every other tag is a mood.
TAG_CATEGORIES = {
    **dict.fromkeys(
        (
            *("classical", "classic", "techno", "electronic", "rock", "ambient", "indian", "opera", "pop"),
            *("new age", "dance", "country", "metal"),
        ),
        "genre",
    ),
    **dict.fromkeys(
        ("guitar", "strings", "drums", "piano", "violin", "synth", "harpsichord", "flute", "sitar", "harp", "cello"),
        "instrument",
    ),
    **dict.fromkeys(
        (
            *("vocal", "vocals", "voice", "singing", "no vocal", "no vocals", "no voice", "choir", "choral"),
            *("female", "woman", "female vocal", "female voice", "male", "man", "male vocal", "male voice"),
        ),
        "voice",
    ),
}


def default_concepts(tags: Sequence[str], thresholds: Sequence[float]) -> tuple[ConceptSpec, ...]:
    """Return each tag as a concept of its own, with its own threshold."""
    levels = (min(max(float(level), MIN_PROBABILITY), 1 - MIN_PROBABILITY) for level in thresholds)
    return tuple(
        ConceptSpec(tag, TAG_CATEGORIES.get(tag, "mood"), (tag,), threshold=level)
        for tag, level in zip(tags, levels, strict=True)
    )


class ConceptMap:
    """probabilities of tags [..., P] -> calibrated probabilities of concepts [..., K], as ConceptSpec defines them."""

    def __init__(self, tags: Sequence[str], concepts: Sequence[ConceptSpec]) -> None:
        """Raises SpecError if there is no concept, a name occurs twice, or a tag is unknown."""
        names = [concept.name for concept in concepts]
        if not names or len(set(names)) != len(names):
            raise SpecError("concepts: there must be at least one, and no name twice")
        columns = {tag: column for column, tag in enumerate(tags)}
        members = np.zeros((len(tags), len(concepts)), np.float32)
        for row, concept in enumerate(concepts):
            for tag in concept.tags:
                if tag not in columns:
                    raise SpecError(f"concepts: {concept.name}: {tag!r} is not a tag of the model")
                members[columns[tag], row] = 1
        self.concepts = tuple(concepts)
        self._members = members
        with np.errstate(over="ignore"):
            self._scale = np.array([concept.scale for concept in concepts]).astype(np.float32)
            self._offset = np.array([concept.offset for concept in concepts]).astype(np.float32)
        if not (np.isfinite(self._scale).all() and np.isfinite(self._offset).all()):
            raise SpecError("concepts: a scale or an offset is too large")
        changes_nothing = bool((self._scale == 1).all() and (self._offset == 0).all())
        self._is_identity = changes_nothing and [concept.tags for concept in concepts] == [(tag,) for tag in tags]

    def __call__(self, probs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [..., K] for probs [..., P]; NaN where a row holds NaN. Where every tag is its own uncalibrated
        concept, return probs itself."""
        if self._is_identity:
            return probs
        logs = np.log1p(-np.minimum(probs, np.float32(1 - _MIN_TAG_COMPLEMENT)))
        none = np.clip(logs @ self._members, _MIN_LOG, _MAX_LOG)  # log(1 - u)
        logits = np.log(-np.expm1(none)) - none
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * (self._scale * logits + self._offset)), np.float32)
