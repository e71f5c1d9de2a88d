"""A table as comma-separated values."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from streamtag.catalog.table import Block, tag_columns
from streamtag.sinks.atomic_file import AtomicFile, cannot_write

DECIMALS = 6  # of a probability


class CsvTable:
    """Lists with "; " between; what is unknown stays empty."""

    def __init__(self, path: Path, columns: Sequence[str], tags: Sequence[str]) -> None:
        """Raises OutputError if the file cannot be written."""
        self._result = AtomicFile(path)
        self._writer: Any = csv.writer(self._result.file, lineterminator="\n")
        self._columns = columns
        self._rows([[*columns, *tag_columns(tags, columns)]])

    def write(self, block: Block) -> None:
        """Raises OutputError."""
        values = zip(*(block.values[name] for name in self._columns), strict=True)
        self._rows(
            [*map(_text, row), *("" if p != p else f"{p:.{DECIMALS}f}" for p in probs)]
            for row, probs in zip(values, block.probs.tolist(), strict=True)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._result.__exit__(kind, error, trace)

    def _rows(self, rows: Iterable[Sequence[str]]) -> None:
        try:
            self._writer.writerows(rows)
        except OSError as error:
            raise cannot_write(self._result.path, error) from None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "; ".join(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)
