"""The model card on screen: provenance, training data, scores, and the tags with their thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamtag.terminal.widgets import DIM_STYLE

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
    """A model with its card, a mapping that JSON can hold; every field of the card may be missing."""

    path: Path
    tags: Sequence[str]
    thresholds: Sequence[float]
    card: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the card for machines; numbers that JSON cannot hold (NaN) become null."""
        thresholds = {tag: float(value) for tag, value in zip(self.tags, self.thresholds, strict=True)}
        card = _finite(dict(self.card))
        return {"path": str(self.path), "tags": list(self.tags), "thresholds": thresholds, "card": card}

    def print(self, console: Console) -> None:
        """Print headings, prose and figures, then one line per tag."""
        console.print(Text(str(self.card.get("name") or self.path.stem), "bold"))
        console.print(Text(str(self.path), DIM_STYLE), soft_wrap=True)
        for key in (*HEADINGS, *(key for key in self.card if key not in HEADINGS)):
            value = self.card.get(key)
            if value in (None, "", {}, []) or key in ("name", "per_tag"):
                continue
            console.print()
            heading = HEADINGS.get(key, key.replace("_", " "))
            if heading:
                console.print(Text(heading, "bold"))
            console.print(_block(value))
        console.print()
        console.print(self._tag_table())

    def _tag_table(self) -> Table:
        per_tag = self.card.get("per_tag")
        figures = per_tag if isinstance(per_tag, Mapping) else {}
        entries = [figures[tag] for tag in self.tags if isinstance(figures.get(tag), Mapping)]
        names = list(dict.fromkeys(name for entry in entries for name in entry if name != "threshold"))
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
        table.add_column("tag", no_wrap=True)
        table.add_column("threshold", justify="right")
        for name in names:
            table.add_column(_label(name), justify="right")
        for tag, threshold in zip(self.tags, self.thresholds, strict=True):
            entry = figures.get(tag)
            values = [entry.get(name) if isinstance(entry, Mapping) else None for name in names]
            table.add_row(tag, f"{threshold:.2f}", *(_number(value) for value in values))
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
