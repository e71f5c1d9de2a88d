"""Tables in text files, checked: required columns, complete lines, unique names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from streamtag.errors import ManifestError


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file. Raises ManifestError if it is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from error


def read_rows(path: Path, required: Iterable[str]) -> list[dict[str, str]]:
    """Return the lines below the header, by column name. Raises as `read_table` does."""
    header, lines = read_table(path, required)
    return [dict(zip(header, line, strict=True)) for line in lines]


def read_table(path: Path, required: Iterable[str], delimiter: str = ",") -> tuple[list[str], list[list[str]]]:
    """Return the header and the lines below it. Raises ManifestError for a missing column or an incomplete line."""
    try:
        reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
        header, *lines = (line for line in reader if line)
    except (csv.Error, ValueError) as error:
        raise ManifestError(f"{path}: not a table: {error}") from error
    missing = [name for name in required if name not in header]
    if missing:
        raise ManifestError(f"{path}: no column {missing[0]!r}")
    check_unique(path, "column", header)
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise ManifestError(f"{path}: line {number} has another number of fields than the first line")
    return header, lines


def check_unique(path: Path, what: str, values: Iterable[str]) -> None:
    """Raise ManifestError if a value occurs twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ManifestError(f"{path}: {what} {value!r} twice")
        seen.add(value)
