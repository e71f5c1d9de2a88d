"""A table as Parquet, by pyarrow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from streamtag.catalog.table import Block, tag_columns
from streamtag.errors import OutputError
from streamtag.sinks.atomic_file import AtomicFile, cannot_write

GROUP = 1 << 16  # rows that are compressed together: 13 MB of 50 tags


class ParquetTable:
    """Every probability is a float32 column of its own; what is unknown is null."""

    def __init__(self, path: Path, columns: Sequence[str], tags: Sequence[str]) -> None:
        """Raises OutputError if the file cannot be written. Needs pyarrow."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {
            "path": pa.string(),
            "seconds": pa.float64(),
            "frames": pa.int64(),
            "size": pa.int64(),
            "modified": pa.timestamp("us", tz="UTC"),
            "model": pa.string(),
            "warnings": pa.string(),
            "error": pa.string(),
            "top": pa.list_(pa.string()),
            "time": pa.float64(),
        }
        self._tags = tag_columns(tags, columns)
        fields = [(name, types[name]) for name in columns] + [(tag, pa.float32()) for tag in self._tags]
        self._schema = pa.schema(fields)
        self._columns = columns
        self._waiting: list[Any] = []
        self._rows = 0
        self._result = AtomicFile(path)
        self._writer: Any = pq.ParquetWriter(self._result.file.buffer, self._schema, compression="zstd")

    def write(self, block: Block) -> None:
        """Raises OutputError."""
        import pyarrow as pa

        names = [self._schema.field(name) for name in self._columns]
        arrays = [pa.array(block.values[field.name], field.type) for field in names]
        probs = np.ascontiguousarray(block.probs.T)
        arrays += [pa.array(column, pa.float32(), from_pandas=True) for column in probs]  # NaN becomes null
        self._waiting.append(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows += len(block)
        if self._rows >= GROUP:
            self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        except OutputError as failed:
            kind = type(failed)
            raise
        finally:
            self._close(kind)

    def _close(self, kind: type[BaseException] | None) -> None:
        """The writer is closed while its file is open: it complains when it is collected otherwise."""
        try:
            self._writer.close()
        except OSError as error:
            if kind is None:
                self._result.discard()
                raise cannot_write(self._result.path, error) from None
        if kind is None:
            self._result.commit()
        else:
            self._result.discard()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._waiting:
            return
        try:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=2 * GROUP)
        except OSError as error:
            raise cannot_write(self._result.path, error) from None
        self._waiting, self._rows = [], 0
