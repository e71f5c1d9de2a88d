"""Tables in text files, checked: columns that must be there, lines that must be whole, names that come once."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from streamtag.errors import ManifestError


def text(path: Path) -> str:
    """Raises ManifestError if it is not there or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from error


def rows(path: Path, needed: Iterable[str], delimiter: str = ",") -> list[dict[str, str]]:
    """The lines below the first, by column. Raises ManifestError for a column missing or a line too short or long."""
    head, lines = columns(path, needed, delimiter)
    return [dict(zip(head, line, strict=True)) for line in lines]


def columns(path: Path, needed: Iterable[str], delimiter: str = ",") -> tuple[list[str], list[list[str]]]:
    """The first line, and those below it as lists of the same length; raises as `rows` does."""
    try:
        reader = csv.reader(io.StringIO(text(path), newline=""), delimiter=delimiter)
        head, *lines = (line for line in reader if line)
    except (csv.Error, ValueError) as error:
        raise ManifestError(f"{path}: not a table: {error}") from error
    missing = [name for name in needed if name not in head]
    if missing:
        raise ManifestError(f"{path}: no column {missing[0]!r}")
    once(path, "column", head)
    for number, line in enumerate(lines, start=2):
        if len(line) != len(head):
            raise ManifestError(f"{path}: line {number} has another number of fields than the first line")
    return head, lines


def once(path: Path, what: str, values: Iterable[str]) -> None:
    """Raises ManifestError if a value comes twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ManifestError(f"{path}: {what} {value!r} twice")
        seen.add(value)
