"""Pieces of a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence

DASH = "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def score(value: float | None, interval: Sequence[float | None] | None = None) -> str:
    """0.912, or 0.912 (0.903–0.920)."""
    if value is None:
        return DASH
    if interval is None or None in interval:
        return f"{value:.3f}"
    low, high = interval
    return f"{value:.3f} ({low:.3f}{DASH}{high:.3f})"


def seconds(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f} s"


def thousands(count: int | None) -> str:
    return DASH if count is None else f"{count:,}"
