"""Tables that exist before a run: what the run would lose of them is found before it begins."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from streamtag.errors import OutputError
from streamtag.text import one_line, plural, printable

READ_ROWS = 1 << 16  # at once
WHAT_TO_DO = "--replace writes it anew from the files named now, another --out leaves it"


def check_existing(path: Path, columns: Sequence[str], is_known: Callable[[str], bool]) -> None:
    """Raise OutputError if writing a table with these columns to `path` would lose what is there.

    is_known: whether a row with this `path` is written again. Nothing is lost where there is no file, or an empty one.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    with _read_errors(path):
        blocks = (_parquet if path.suffix.lower() == ".parquet" else _csv)(path)
        if next(blocks) != list(columns):
            raise OutputError(
                f"{path}: has other columns than this run writes, from another model, another version of streamtag or"
                f" another program: {WHAT_TO_DO}"
            )
        lost = [name for name in dict.fromkeys(chain.from_iterable(blocks)) if not is_known(name)]
    if lost:
        raise OutputError(
            f"{path}: has rows of {plural(len(lost), 'file')} that this run does not know ({printable(lost[0])}"
            f"{', ...' if len(lost) > 1 else ''}): {WHAT_TO_DO}"
        )


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's errors are ValueErrors
        reason = one_line(getattr(error, "strerror", None) or error)
        raise OutputError(f"{path}: cannot be read as a table ({reason}): {WHAT_TO_DO}") from None


def _csv(path: Path) -> Iterator[list[str]]:
    """Yield the columns, then the values of the column `path` in blocks."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        columns = next(rows, [])
        yield columns
        column = columns.index("path")
        yield from ([row[column]] for row in rows if len(row) > column)


def _parquet(path: Path) -> Iterator[list[str]]:
    """Yield the same as `_csv`."""
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        table = pq.ParquetFile(file)
        yield [str(name) for name in table.schema_arrow.names]
        for batch in table.iter_batches(READ_ROWS, columns=["path"]):
            yield [*map(str, batch.column(0).unique().to_pylist())]
