"""The table of `streamtag history --out`: a row for every time that a concept was present."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from streamtag.catalog.table_formats import Block, Table, open_table
from streamtag.history.reader import Presence

FORMATS = (".csv", ".jsonl", ".parquet")
COLUMNS, FIGURES = ("stream", "concept", "category", "on_at", "off_at", "seconds", "session"), ("peak", "mean")
BLOCK_ROWS = 5_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PresenceTable:
    """Collects rows and writes them in blocks."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows: list[Presence] = []

    def write(self, presence: Presence) -> None:
        """Raises OutputError."""
        self._rows.append(presence)
        if len(self._rows) >= BLOCK_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is collected. Raises OutputError."""
        rows, self._rows = self._rows, []
        names = ("stream", "concept", "category", "session")
        values = {name: [getattr(row, name) for row in rows] for name in names}
        values |= {name: [_utc(getattr(row, name)) for row in rows] for name in ("on_at", "off_at")}
        values["seconds"] = [round(row.off_at - row.on_at, 3) for row in rows]
        figures = np.array([(row.peak, row.mean) for row in rows], np.float32).reshape(-1, len(FIGURES))
        self._table.write(Block(values, figures))


@contextmanager
def open_presence_table(path: Path) -> Iterator[PresenceTable]:
    """Open a table in one of FORMATS, complete after the block. Raises OutputError."""
    with open_table(path, COLUMNS, FIGURES) as table:
        presences = PresenceTable(table)
        yield presences
        presences.flush()


def _utc(at: float) -> datetime:
    return EPOCH + timedelta(milliseconds=round(1000 * at))
