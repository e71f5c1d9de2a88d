"""The model card for people and for machines."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from streamtag.spec import ConceptSpec
from streamtag.terminal.model_card import CardView

TAGS, THRESHOLDS = ("guitar", "male vocal"), (0.25, 0.5)
CONCEPTS = (
    ConceptSpec("men", "voice", ("male vocal",), threshold=None),
    ConceptSpec("strings", "instrument", ("guitar", "male vocal"), 1.5, 0.25, 0.4),
)
CARD: dict[str, Any] = {
    "name": "streamtag-small",
    "description": "A tagger for tests.",
    "licence": "CC BY-NC-SA 4.0",
    "trained_on": {"clips": 1400, "hours": 11.2},
    "labels": "soft labels",
    "splits": {"train": 1400, "validation": 160},
    "scores": {"all": {"roc_auc": 0.9312, "pr_auc": 0.5}, "real": {"roc_auc": 0.91}},
    "per_concept": {"strings": {"roc_auc": 0.8, "threshold": 0.4}},
    "per_tag": {"guitar": {"roc_auc": 0.95, "pr_auc": float("nan"), "positives": 12}},
    "provenance": {"date": "2025-01-01", "parameters": 7776306},
    "something_new": ["one", "two"],
}


def _printed(card: dict[str, Any]) -> str:
    file = io.StringIO()
    CardView(Path("my/model.safetensors"), TAGS, THRESHOLDS, CONCEPTS, card).print(Console(file=file, width=100))
    return file.getvalue()


def test_the_card_shows_provenance_and_scores_and_every_tag() -> None:
    lines = [" ".join(line.split()) for line in _printed(CARD).splitlines()]
    assert lines[:2] == ["streamtag-small", "my/model.safetensors"]
    for line in ("A tagger for tests.", "CC BY-NC-SA 4.0", "clips 1,400", "hours 11.2", "soft labels"):
        assert line in lines
    assert "all 0.931 0.500" in lines
    assert "real 0.910 -" in lines
    assert "parameters 7,776,306" in lines
    assert lines[lines.index("something new") + 1] == "one, two"
    assert "tag threshold ROC-AUC PR-AUC positives" in lines
    assert "guitar 0.25 0.950 - 12" in lines
    assert "male vocal 0.50 - - -" in lines


@pytest.mark.parametrize(
    "card", [{}, {"per_tag": None, "scores": "good"}, {"per_tag": {"guitar": 0.5}}, {"scores": {}}]
)
def test_fields_may_be_missing(card: dict[str, Any]) -> None:
    lines = [line.split() for line in _printed(card).splitlines()]
    assert lines[0] == ["model"]
    assert ["guitar", "0.25"] in lines


def test_the_card_as_json_replaces_nan_with_null() -> None:
    view = CardView(Path("my/model.safetensors"), TAGS, THRESHOLDS, CONCEPTS, CARD)
    back = json.loads(json.dumps(view.to_dict(), allow_nan=False))
    assert back["tags"] == list(TAGS)
    assert back["thresholds"] == {"guitar": 0.25, "male vocal": 0.5}
    assert back["card"]["per_tag"]["guitar"] == {"roc_auc": 0.95, "pr_auc": None, "positives": 12}
    assert [ConceptSpec.from_dict(concept) for concept in back["concepts"]] == list(CONCEPTS)
    assert back["card"]["name"] == "streamtag-small"
