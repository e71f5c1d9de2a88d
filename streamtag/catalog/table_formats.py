"""Tables as files: comma-separated values, Parquet by pyarrow, and JSON lines."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import OutputError, SpecError
from streamtag.sinks.atomic_file import AtomicFile, cannot_write

FORMATS = (".parquet", ".csv")  # of a catalogue, which is continued
CSV_DECIMALS = 6  # of a probability
ROW_GROUP = 1 << 16  # rows that are compressed together: 23 MB of 50 tags and 36 concepts


@dataclass(frozen=True)
class Block:
    """Rows of a table by column: numbers and texts first, then [rows, labels] float32, NaN where unknown."""

    values: dict[str, list[Any]]
    probs: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.probs)


def check_format(path: Path, formats: Sequence[str] = FORMATS) -> None:
    """Raise SpecError if the name stands for no format, and OutputError if what is needed to write it is missing."""
    if path.suffix.lower() not in formats:
        raise SpecError(f"{path}: a table ends in {', '.join(formats[:-1])} or {formats[-1]}")
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise OutputError(f"{path}: needs pyarrow: pip install pyarrow; or write .csv") from None


@contextmanager
def open_table(path: Path, columns: Sequence[str], labels: Sequence[str]) -> Iterator[Table]:
    """Open a table in the format that its name stands for. Raises OutputError if it cannot be written.

    columns: names of those with numbers and texts; labels: of those with probabilities, other names.

    After the block the new file is complete, or after an exception the old one unchanged.
    """
    kind = {".parquet": ParquetTable, ".jsonl": JsonLinesTable}.get(path.suffix.lower(), CsvTable)
    with AtomicFile(path) as file, ExitStack() as resources:
        table = kind(file, resources, columns, labels)
        yield table
        table.flush()


class Table(ABC):
    """Rows on their way to a file."""

    def __init__(self, file: AtomicFile) -> None:
        self._file = file

    def write(self, block: Block) -> None:
        """Append rows. Raises OutputError."""
        self._report_errors(lambda: self._append(block))

    def flush(self) -> None:
        """Write the rows that are still in memory. Raises OutputError."""
        self._report_errors(self._finish)

    @abstractmethod
    def _append(self, block: Block) -> None: ...

    def _finish(self) -> None:
        self._file.file.flush()

    def _report_errors(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            raise cannot_write(self._file.path, error) from None


class CsvTable(Table):
    """Comma-separated values: lists are joined by "; ", unknown values are empty."""

    def __init__(self, file: AtomicFile, _: ExitStack, columns: Sequence[str], labels: Sequence[str]) -> None:
        super().__init__(file)
        self._writer: Any = csv.writer(file.file, lineterminator="\n")
        self._columns = columns
        self._writer.writerow([*columns, *labels])

    def _append(self, block: Block) -> None:
        values = zip(*(block.values[name] for name in self._columns), strict=True)
        self._writer.writerows(
            [*map(_text, row), *("" if p != p else f"{p:.{CSV_DECIMALS}f}" for p in probs)]
            for row, probs in zip(values, block.probs.tolist(), strict=True)
        )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "; ".join(value)
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else str(value)


class JsonLinesTable(Table):
    """One JSON object per line, times as Unix time [s], unknown values as null."""

    def __init__(self, file: AtomicFile, _: ExitStack, columns: Sequence[str], labels: Sequence[str]) -> None:
        super().__init__(file)
        self._names = (*columns, *labels)
        self._columns = columns

    def _append(self, block: Block) -> None:
        values = zip(*(block.values[name] for name in self._columns), strict=True)
        for row, probs in zip(values, block.probs.tolist(), strict=True):
            known = [None if p != p else round(p, CSV_DECIMALS) for p in probs]
            fields = dict(zip(self._names, [*row, *known], strict=True))
            self._file.file.write(json.dumps(fields, ensure_ascii=False, default=_unix_time) + "\n")


def _unix_time(value: datetime) -> float:
    return round(value.timestamp(), 3)


class ParquetTable(Table):
    """Parquet by pyarrow: every probability is a float32 column of its own, unknown values are null."""

    def __init__(self, file: AtomicFile, resources: ExitStack, columns: Sequence[str], labels: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        super().__init__(file)
        texts = ("path", "model", "warnings", "error", "verdict", "stream", "concept", "category")
        types = dict.fromkeys(texts, pa.string())
        types |= {
            "seconds": pa.float64(),
            "time": pa.float64(),
            **dict.fromkeys(("frames", "size", "session"), pa.int64()),
        }
        types |= dict.fromkeys(("modified", "on_at", "off_at"), pa.timestamp("us", tz="UTC"))
        types |= dict.fromkeys(("top", "present"), pa.list_(pa.string()))
        fields = [(name, types[name]) for name in columns]
        self._schema = pa.schema(fields + [(label, pa.float32()) for label in labels])
        self._columns = columns
        self._pending: list[Any] = []
        self._pending_rows = 0
        writer = pq.ParquetWriter(file.file.buffer, self._schema, compression="zstd")
        self._writer: Any = resources.enter_context(writer)  # closed before the file: otherwise it complains

    def _append(self, block: Block) -> None:
        import pyarrow as pa

        arrays = [pa.array(block.values[name], self._schema.field(name).type) for name in self._columns]
        probs = np.ascontiguousarray(block.probs.T)
        arrays += [pa.array(column, pa.float32(), from_pandas=True) for column in probs]  # NaN becomes null
        self._pending.append(pa.Table.from_arrays(arrays, schema=self._schema))
        self._pending_rows += len(block)
        if self._pending_rows >= ROW_GROUP:
            self._write_group()

    def _finish(self) -> None:
        if self._pending:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.concat_tables(self._pending), row_group_size=2 * ROW_GROUP)
        self._pending, self._pending_rows = [], 0
