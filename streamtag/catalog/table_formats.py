"""Tables as files: comma-separated values, and Parquet by pyarrow."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import OutputError
from streamtag.sinks.atomic_file import AtomicFile, cannot_write
from streamtag.text import unique

FORMATS = (".parquet", ".csv")
CSV_DECIMALS = 6  # of a probability
ROW_GROUP = 1 << 16  # rows that are compressed together: 13 MB of 50 tags


@dataclass(frozen=True)
class Block:
    """Rows of a table by column: numbers and texts first, then [rows, tags] float32, NaN where unknown."""

    values: dict[str, list[Any]]
    probs: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.probs)


class Table(Protocol):
    """A file of blocks. A context manager: at the end the new file is complete, or the old one unchanged."""

    def write(self, block: Block) -> None:
        """Append rows. Raises OutputError."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


def check_format(path: Path) -> None:
    """Raise OutputError if a table cannot be written in the format that the name stands for."""
    if path.suffix.lower() not in FORMATS:
        raise OutputError(f"{path}: a table ends in {' or '.join(FORMATS)}")
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise OutputError(f"{path}: needs pyarrow: pip install pyarrow; or write .csv") from None


def open_table(path: Path, columns: Sequence[str], tags: Sequence[str]) -> Table:
    """Open a table in the format that its name stands for. Raises OutputError if it cannot be written."""
    kind = ParquetTable if path.suffix.lower() == ".parquet" else CsvTable
    return kind(path, columns, tags)


def tag_columns(tags: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return the names of the tags' columns: a name that another column has gets a number."""
    return unique([*columns, *tags])[len(columns) :]


class CsvTable:
    """Comma-separated values: lists are joined by "; ", unknown values are empty."""

    def __init__(self, path: Path, columns: Sequence[str], tags: Sequence[str]) -> None:
        """Write the header. Raises OutputError."""
        self._file = AtomicFile(path)
        self._writer: Any = csv.writer(self._file.file, lineterminator="\n")
        self._columns = columns
        self._write_rows([[*columns, *tag_columns(tags, columns)]])

    def write(self, block: Block) -> None:
        values = zip(*(block.values[name] for name in self._columns), strict=True)
        self._write_rows(
            [*map(_text, row), *("" if p != p else f"{p:.{CSV_DECIMALS}f}" for p in probs)]
            for row, probs in zip(values, block.probs.tolist(), strict=True)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)

    def _write_rows(self, rows: Iterable[Sequence[str]]) -> None:
        try:
            self._writer.writerows(rows)
        except OSError as error:
            raise cannot_write(self._file.path, error) from None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "; ".join(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


class ParquetTable:
    """Parquet: every probability is a float32 column of its own, unknown values are null."""

    def __init__(self, path: Path, columns: Sequence[str], tags: Sequence[str]) -> None:
        """Raises OutputError if the file cannot be written. Needs pyarrow."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = dict.fromkeys(("path", "model", "warnings", "error"), pa.string())
        types |= {"seconds": pa.float64(), "time": pa.float64(), "frames": pa.int64(), "size": pa.int64()}
        types |= {"modified": pa.timestamp("us", tz="UTC"), "top": pa.list_(pa.string())}
        fields = [(name, types[name]) for name in columns]
        self._schema = pa.schema(fields + [(tag, pa.float32()) for tag in tag_columns(tags, columns)])
        self._columns = columns
        self._pending: list[Any] = []
        self._pending_rows = 0
        self._file = AtomicFile(path)
        self._writer: Any = pq.ParquetWriter(self._file.file.buffer, self._schema, compression="zstd")

    def write(self, block: Block) -> None:
        import pyarrow as pa

        arrays = [pa.array(block.values[name], self._schema.field(name).type) for name in self._columns]
        probs = np.ascontiguousarray(block.probs.T)
        arrays += [pa.array(column, pa.float32(), from_pandas=True) for column in probs]  # NaN becomes null
        self._pending.append(pa.Table.from_arrays(arrays, schema=self._schema))
        self._pending_rows += len(block)
        if self._pending_rows >= ROW_GROUP:
            self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        except OutputError as failure:
            kind = type(failure)
            raise
        finally:
            self._close(kind)

    def _close(self, kind: type[BaseException] | None) -> None:
        """Close the writer while its file is open: otherwise it complains when it is collected."""
        try:
            self._writer.close()
        except OSError as error:
            if kind is None:
                self._file.discard()
                raise cannot_write(self._file.path, error) from None
        if kind is None:
            self._file.commit()
        else:
            self._file.discard()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._pending:
            return
        try:
            self._writer.write_table(pa.concat_tables(self._pending), row_group_size=2 * ROW_GROUP)
        except OSError as error:
            raise cannot_write(self._file.path, error) from None
        self._pending, self._pending_rows = [], 0
