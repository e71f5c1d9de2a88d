"""The tables of a run: one row per file, one column per tag; optionally a second table with one row per frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamtag.catalog.files import AudioFile
from streamtag.catalog.journal import Journal
from streamtag.catalog.result import FileResult
from streamtag.catalog.table_formats import Block, open_table

FILE_COLUMNS = ("path", "seconds", "frames", "size", "modified", "model", "warnings", "error", "top")
FRAME_COLUMNS = ("path", "time")
ROWS_PER_BLOCK = 4096  # files held at once

Row = TypeVar("Row")


@dataclass(frozen=True)
class TableRequest:
    """The tables to write. tags: of the model, hop_s: its hop in seconds. top: number of strongest tags to name.

    outs: tables of files. frames: the table of frames, if any. max_failures: failures to return.
    """

    tags: tuple[str, ...]
    hop_s: float
    outs: tuple[Path, ...]
    frames: Path | None
    top: int
    max_failures: int


@dataclass(frozen=True)
class TableSummary:
    """files in the tables, `failed` of them; failures: the first ones with their reasons."""

    files: int
    failed: int
    failures: tuple[tuple[AudioFile, str], ...]


def write_tables(request: TableRequest, journal: Journal, files: Sequence[AudioFile], model: str) -> TableSummary:
    """Write a row for every file with a result of this model in the journal. Raises OutputError."""
    tags = request.tags
    count = failed = 0
    failures: list[tuple[AudioFile, str]] = []
    with ExitStack() as resources:
        tables = [resources.enter_context(open_table(path, FILE_COLUMNS, tags)) for path in request.outs]
        frame_tables = [
            resources.enter_context(open_table(path, FRAME_COLUMNS, tags)) for path in [request.frames] if path
        ]
        for rows in blocks_of(_known_results(journal, files, model), ROWS_PER_BLOCK):
            block = file_block([(file.utf8_path, result) for file, result in rows], tags, request.top)
            for table in tables:
                table.write(block)
            for file, result in rows:
                if result.error is not None:
                    failed += 1
                    failures += [(file, result.error)] if len(failures) < request.max_failures else []
                for table in frame_tables if result.frames else ():
                    first = 0
                    for probs in journal.frames(result, len(tags)):
                        table.write(frame_block(file.utf8_path, first, probs, request.hop_s))
                        first += len(probs)
            count += len(rows)
    return TableSummary(count, failed, tuple(failures))


def _known_results(journal: Journal, files: Sequence[AudioFile], model: str) -> Iterator[tuple[AudioFile, FileResult]]:
    for file in files:
        if (result := journal.find(file, model)) is not None:
            yield file, result


def file_block(rows: Iterable[tuple[str, FileResult]], tags: Sequence[str], top: int) -> Block:
    """Return the rows of files. rows: paths with their results. top: number of strongest tags to name."""
    rows = list(rows)
    unknown = np.full(len(tags), np.nan, np.float32)
    probs = np.stack([unknown if result.means is None else result.means for _, result in rows])
    results = [result for _, result in rows]
    values: dict[str, list[Any]] = {
        "path": [path for path, _ in rows],
        "seconds": [round(result.seconds, 3) for result in results],
        "frames": [result.frames for result in results],
        "size": [result.size for result in results],
        "modified": [datetime.fromtimestamp(result.mtime_ns // 1000 / 1e6, UTC) for result in results],
        "model": [result.model for result in results],
        "warnings": [result.warnings or None for result in results],
        "error": [result.error for result in results],
        "top": [strongest_tags(result, tags, top) for result in results],
    }
    return Block(values, probs)


def frame_block(path: str, first: int, probs: NDArray[np.float32], hop_s: float) -> Block:
    """Return rows of probs [n, tags] of a file from frame `first` on; times are the windows' centres, s."""
    times = [round((first + row) * hop_s, 3) for row in range(len(probs))]
    return Block({"path": [path] * len(probs), "time": times}, probs)


def strongest_tags(result: FileResult, tags: Sequence[str], count: int) -> list[str]:
    """Return the names of the strongest tags, the strongest first."""
    if result.means is None:
        return []
    return [tags[index] for index in np.argsort(-result.means, kind="stable")[:count]]


def blocks_of(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Yield lists of up to `size` rows."""
    rows = iter(rows)
    while block := list(islice(rows, size)):
        yield block
