"""Results of the GPU benchmark: a line of JSON for each, written at once, and a table of all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DONE = "done"  # the name of the line that a part writes when it is complete
PROBLEM = "problem"  # the key of what went wrong, which makes the whole run fail
MAX_FIGURE_WIDTH = 100


@dataclass(frozen=True)
class Report:
    """Results of one part, appended to a file that several processes write to, one after the other."""

    path: Path
    part: str

    def write(self, name: str, **figures: Any) -> None:
        """Append one result: what was measured, and its figures."""
        line = json.dumps({"part": self.part, "name": name, **{key: _rounded(value) for key, value in figures.items()}})
        with self.path.open("a", encoding="utf-8") as file:  # opened anew: what is written survives a kill
            file.write(f"{line}\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the results so far; the last line may be incomplete."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def has_succeeded(results: Iterable[Mapping[str, Any]], parts: Iterable[str]) -> bool:
    """Return whether every part is complete and nothing went wrong in any."""
    rows = list(results)
    complete = {row["part"] for row in rows if row["name"] == DONE}
    return complete >= set(parts) and not any(PROBLEM in row for row in rows)


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """Return the results as text: part, name, and the figures in lines of bounded width."""
    rows = [(row["part"], row["name"], list(_lines(row))) for row in results]
    widths = [max((len(str(row[column])) for row in rows), default=0) for column in (0, 1)]
    lines, previous = [], None
    for part, name, figures in rows:
        head = f"{'' if part == previous else part:<{widths[0]}}  {name:<{widths[1]}}"
        lines += [f"{head if not n else ' ' * len(head)}  {text}".rstrip() for n, text in enumerate(figures or [""])]
        previous = part
    return "\n".join(lines)


def _lines(row: Mapping[str, Any]) -> Iterator[str]:
    text = ""
    for key, value in row.items():
        if key in ("part", "name"):
            continue
        figure = f"{key.replace('_', ' ')} {value}"
        if text and len(text) + len(figure) > MAX_FIGURE_WIDTH:
            yield text
            text = ""
        text += f"{', ' if text else ''}{figure}"
    if text:
        yield text


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
