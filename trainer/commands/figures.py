"""Figures of a model file on a split, with a progress bar, and as tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from streamtag.core import Tagger
from trainer import evaluate
from trainer.commands.progress import progress_bar
from trainer.manifest import Array, Manifest


def figures(tagger: Tagger, data: Manifest, split: str) -> tuple[dict[str, Any], Array]:
    """The report of a split, and the mean probabilities [n, C] that it rests on."""
    whole, early = [], []
    with progress_bar() as progress:
        task = progress.add_task("tagging", total=len(data.split(split)))
        for mean, soon in evaluate.predict(tagger, data, split):
            whole.append(mean)
            early.append(soon)
            progress.advance(task)
    predicted = np.stack(whole)
    return evaluate.report(data, split, predicted, np.stack(early)), predicted


def print_tables(result: dict[str, Any]) -> None:
    console = Console()
    parts = Table(title=f"split {result['split']}: agreement with the targets")
    tags = Table(title="by tag")
    for table, head, rows in (
        (parts, "clips", result["parts"]),
        (tags, "tag", dict(sorted(result["tags"].items(), key=lambda item: -item[1]["positives"]))),
    ):
        names = list(next(iter(rows.values())))
        for name in (head, *names):
            table.add_column(name.replace("_", " "), justify="left" if name == head else "right", no_wrap=name == head)
        for name, row in rows.items():
            table.add_row(name, *("-" if row[key] is None else str(row[key]) for key in names))
        console.print(table)
