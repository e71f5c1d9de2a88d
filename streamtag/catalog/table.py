"""The result as a table: a row a file, a column a tag; and, if wanted, a row a frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamtag.catalog.result import FileResult
from streamtag.errors import OutputError
from streamtag.text import unique

FILE_COLUMNS = ("path", "seconds", "frames", "size", "modified", "model", "warnings", "error", "top")
FRAME_COLUMNS = ("path", "time")
FORMATS = (".parquet", ".csv")

Row = TypeVar("Row")


@dataclass(frozen=True)
class Block:
    """Rows of a table, column by column: numbers and texts first, then [rows, tags] float32, NaN where unknown."""

    values: dict[str, list[Any]]
    probs: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.probs)


class Table(Protocol):
    """A file that takes blocks. A context manager: the file is whole at the end, or as it was before."""

    def write(self, block: Block) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


def check_format(path: Path) -> None:
    """Raises OutputError if a table cannot be written in the format that the name asks for."""
    if path.suffix.lower() not in FORMATS:
        raise OutputError(f"{path}: a table ends in {' or '.join(FORMATS)}")
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise OutputError(f"{path}: needs pyarrow: pip install pyarrow; or write .csv") from None


def tag_columns(tags: Sequence[str], before: Sequence[str]) -> list[str]:
    """The tags' names; one that another column has gets a number."""
    return unique([*before, *tags])[len(before) :]


def file_block(rows: Iterable[tuple[str, FileResult]], tags: Sequence[str], top: int) -> Block:
    """rows: paths as text, with what is known of them. top: so many of the strongest tags are named."""
    rows = list(rows)
    unknown = np.full(len(tags), np.nan, np.float32)
    probs = np.stack([unknown if entry.means is None else entry.means for _, entry in rows])
    entries = [entry for _, entry in rows]
    values: dict[str, list[Any]] = {
        "path": [path for path, _ in rows],
        "seconds": [round(entry.seconds, 3) for entry in entries],
        "frames": [entry.frames for entry in entries],
        "size": [entry.size for entry in entries],
        "modified": [datetime.fromtimestamp(entry.mtime_ns // 1000 / 1e6, UTC) for entry in entries],
        "model": [entry.model for entry in entries],
        "warnings": [entry.warnings or None for entry in entries],
        "error": [entry.error for entry in entries],
        "top": [strongest(entry, tags, top) for entry in entries],
    }
    return Block(values, probs)


def frame_block(path: str, first: int, probs: NDArray[np.float32], hop_s: float) -> Block:
    """probs [n, tags] of a file from frame `first` on; their times are those of the windows' centres, s."""
    times = [round((first + row) * hop_s, 3) for row in range(len(probs))]
    return Block({"path": [path] * len(probs), "time": times}, probs)


def strongest(entry: FileResult, tags: Sequence[str], top: int) -> list[str]:
    """The names of the strongest tags, the strongest first."""
    if entry.means is None:
        return []
    return [tags[index] for index in np.argsort(-entry.means, kind="stable")[:top]]


def in_blocks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Lists of so many rows at most."""
    rows = iter(rows)
    while block := list(islice(rows, size)):
        yield block
