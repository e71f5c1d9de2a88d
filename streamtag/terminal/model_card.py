"""The model card on screen: provenance, training data, scores, concepts and tags with their thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamtag.spec import CATEGORIES, ConceptSpec
from streamtag.terminal.widgets import DIM_STYLE, category_title

NO_EVIDENCE = "no evidence for a threshold, so never counted as present"
HEADINGS = {  # the card's fields in display order; others follow under their own names
    "description": "",
    "provenance": "where it comes from",
    "trained_on": "trained on",
    "labels": "labels",
    "splits": "splits",
    "licence": "licence",
    "scored_on": "scored on the split",
    "scores": "scores",
}


@dataclass(frozen=True)
class CardView:
    """A model with its card, a mapping that JSON can hold; every field of the card may be missing.

    network: what the network reads and how it is built.
    """

    path: Path
    tags: Sequence[str]
    thresholds: Sequence[float]
    concepts: Sequence[ConceptSpec]
    card: Mapping[str, Any]
    network: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the card for machines; numbers that JSON cannot hold (NaN) become null."""
        thresholds = {tag: float(value) for tag, value in zip(self.tags, self.thresholds, strict=True)}
        return {
            "path": str(self.path),
            "tags": list(self.tags),
            "thresholds": thresholds,
            "concepts": [concept.to_dict() for concept in self.concepts],
            "network": dict(self.network),
            "card": _finite(dict(self.card)),
        }

    def print(self, console: Console) -> None:
        """Print headings, prose and figures, then one line per concept and one per tag."""
        console.print(Text(str(self.card.get("name") or self.path.stem), "bold"))
        console.print(Text(str(self.path), DIM_STYLE), soft_wrap=True)
        if self.network:
            console.print()
            console.print(Text("network", "bold"))
            console.print(_block(self.network))
        for key in (*HEADINGS, *(key for key in self.card if key not in HEADINGS)):
            value = self.card.get(key)
            if value in (None, "", {}, []) or key in ("name", "per_tag", "per_concept"):
                continue
            console.print()
            heading = HEADINGS.get(key, key.replace("_", " "))
            if heading:
                console.print(Text(heading, "bold"))
            console.print(_block(value))
        console.print()
        console.print(self._concept_table())
        without_evidence = [concept.name for concept in self.concepts if concept.threshold is None]
        if without_evidence:
            console.print()
            console.print(Text(f"{NO_EVIDENCE}: {', '.join(without_evidence)}"))
        console.print()
        console.print(self._tag_table())

    def _concept_table(self) -> Table:
        """Return a table of the concepts by category, with their tags."""
        figures = _Figures.of(self.card.get("per_concept"), [concept.name for concept in self.concepts])
        table = _label_table("concept", figures)
        table.add_column("tags")
        for category in CATEGORIES:
            concepts = [concept for concept in self.concepts if concept.category == category]
            if concepts:
                table.add_row(Text(category_title(category), DIM_STYLE))
            for concept in concepts:
                level = "-" if concept.threshold is None else f"{concept.threshold:.2f}"
                table.add_row(f"  {concept.name}", level, *figures.row(concept.name), ", ".join(concept.tags))
        return table

    def _tag_table(self) -> Table:
        figures = _Figures.of(self.card.get("per_tag"), self.tags)
        table = _label_table("tag", figures)
        for tag, threshold in zip(self.tags, self.thresholds, strict=True):
            table.add_row(tag, f"{threshold:.2f}", *figures.row(tag))
        return table


@dataclass(frozen=True)
class _Figures:
    """Figures of tags or of concepts by name, as far as the card has them. columns: their names."""

    by_name: Mapping[str, Any]
    columns: tuple[str, ...]

    @classmethod
    def of(cls, figures: Any, names: Sequence[str]) -> _Figures:
        by_name = figures if isinstance(figures, Mapping) else {}
        entries = [by_name[name] for name in names if isinstance(by_name.get(name), Mapping)]
        return cls(by_name, tuple(dict.fromkeys(key for entry in entries for key in entry if key != "threshold")))

    def row(self, name: str) -> list[str]:
        """Return the figures of one name as text, in the order of the columns."""
        entry = self.by_name.get(name)
        return [_number(entry.get(key) if isinstance(entry, Mapping) else None) for key in self.columns]


def _label_table(heading: str, figures: _Figures) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column(heading, no_wrap=True)
    table.add_column("threshold", justify="right")
    for name in figures.columns:
        table.add_column(_label(name), justify="right")
    return table


def _block(value: Any) -> Text | Table:
    """Return prose as it is, a mapping as lines of name and value, a mapping of mappings as a table."""
    if not isinstance(value, Mapping):
        return Text(_number(value))
    nested = [entry for entry in value.values() if isinstance(entry, Mapping)]
    if nested and len(nested) == len(value):
        columns = list(dict.fromkeys(name for entry in nested for name in entry))
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style=DIM_STYLE)
        table.add_column("")
        for column in columns:
            table.add_column(_label(column), justify="right")
        for name, entry in value.items():
            table.add_row(_label(name), *(_number(entry.get(column)) for column in columns))
        return table
    lines = Table.grid(padding=(0, 3, 0, 0))
    for name, entry in value.items():
        lines.add_row(Text(_label(str(name)), DIM_STYLE), Text(_number(entry)))
    return lines


def _label(name: str) -> str:
    return str(name).replace("roc_auc", "ROC-AUC").replace("pr_auc", "PR-AUC").replace("_", " ")


def _number(value: Any) -> str:
    """Return a value of a card in a few characters."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if 0.01 <= abs(value) < 10 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{_label(key)} {_number(entry)}" for key, entry in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_number, value))
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
