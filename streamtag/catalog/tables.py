"""The tables of a run: one row per file, one column per tag and concept; optionally a second one, a row per frame."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamtag.catalog.files import absolute, as_utf8
from streamtag.catalog.journal import Journal
from streamtag.catalog.result import FileResult
from streamtag.catalog.table_formats import Block, open_table
from streamtag.inference.presence import Verdict, format_verdict, group_names, present_columns
from streamtag.spec import ConceptSpec
from streamtag.text import unique

FILE_COLUMNS = (
    *("path", "seconds", "frames", "size", "modified", "model", "warnings", "error"),
    *("top", "present", "verdict"),
)
FRAME_COLUMNS = ("path", "time")
ROWS_PER_BLOCK = 4096  # files held at once

Floats = NDArray[np.float32]
Row = TypeVar("Row")


@dataclass(frozen=True)
class TableRequest:
    """The tables to write. tags and concepts: of the model, concept_map: its probabilities of tags to concepts, hop_s:
    its hop in seconds. top: number of strongest tags to name.

    outs: tables of files. frames: the table of frames, if any. max_failures: failures to return.
    """

    tags: tuple[str, ...]
    concepts: tuple[ConceptSpec, ...]
    concept_map: Callable[[Floats], Floats]
    hop_s: float
    outs: tuple[Path, ...]
    frames: Path | None
    top: int
    max_failures: int

    @property
    def file_labels(self) -> list[str]:
        """The names of the columns of tags and concepts in tables of files."""
        return label_columns(self.tags, self.concepts, FILE_COLUMNS)

    @property
    def frame_labels(self) -> list[str]:
        """The same in tables of frames."""
        return label_columns(self.tags, self.concepts, FRAME_COLUMNS)


@dataclass(frozen=True)
class TableSummary:
    """failed: how many of the reported files failed; failures: the first ones with their reasons.

    without_frames: files that were tagged without keeping their frames, and so are missing in the table of frames.
    """

    failed: int
    failures: tuple[tuple[str, str], ...]
    without_frames: int


def write_tables(
    request: TableRequest, journal: Journal, rows: Sequence[str], named: Mapping[str, str]
) -> TableSummary:
    """Write a row for each of these files, paths from the root, which are in the journal. Raises OutputError.

    named: the paths as the user wrote them now, by path from the root; the failures of these files are returned.
    """
    failed = without_frames = 0
    failures: list[tuple[str, str]] = []
    with ExitStack() as resources:
        tables = [resources.enter_context(open_table(path, FILE_COLUMNS, request.file_labels)) for path in request.outs]
        frame_tables = [
            resources.enter_context(open_table(path, FRAME_COLUMNS, request.frame_labels))
            for path in [request.frames]
            if path
        ]
        results = (replace(result, path=shown_path(result, named)) for result in map(journal.read, rows))
        for part in blocks_of(results, ROWS_PER_BLOCK):
            block = file_block(part, request)
            for table in tables:
                table.write(block)
            for result in part:
                if result.error is not None and result.abspath in named:
                    failed += 1
                    failures += [(result.path, result.error)] if len(failures) < request.max_failures else []
                without_frames += result.frames > 0 and result.frames_id is None
                for table in frame_tables if result.frames and result.frames_id is not None else ():
                    first = 0
                    for probs in journal.frames(result, len(request.tags)):
                        table.write(frame_block(as_utf8(result.path), first, probs, request))
                        first += len(probs)
    return TableSummary(failed, tuple(failures), without_frames)


def label_columns(tags: Sequence[str], concepts: Sequence[ConceptSpec], columns: Sequence[str]) -> list[str]:
    """Return the names of the columns of tags and concepts: a name that another column has gets a number.

    Those of concepts need no quotes in SQL: `concept_no_vocals`.
    """
    names = ["concept_" + re.sub(r"\W+", "_", concept.name) for concept in concepts]
    return unique([*columns, *tags, *names])[len(columns) :]


def shown_path(result: FileResult, named: Mapping[str, str]) -> str:
    """Return the path as the user wrote it now; else as before, or from the root if it is now another file's."""
    before = result.path if absolute(result.path) == result.abspath else result.abspath
    return named.get(result.abspath, before)


def file_block(results: Iterable[FileResult], request: TableRequest) -> Block:
    """Return the rows of files."""
    results = list(results)
    unknown = np.full(len(request.tags) + len(request.concepts), np.nan, np.float32)
    probs = np.stack([_means(result, unknown) for result in results])
    values: dict[str, list[Any]] = {
        "path": [as_utf8(result.path) for result in results],
        "seconds": [round(result.seconds, 3) for result in results],
        "frames": [result.frames for result in results],
        "size": [result.size for result in results],
        "modified": [datetime.fromtimestamp(result.mtime_ns // 1000 / 1e6, UTC) for result in results],
        "model": [result.model for result in results],
        "warnings": [result.warnings or None for result in results],
        "error": [result.error for result in results],
        "top": [strongest_tags(result, request.tags, request.top) for result in results],
    }
    verdicts = [verdict_of(result, request.concepts) for result in results]
    values["present"] = [[name for names in verdict.values() for name in names] for verdict in verdicts]
    values["verdict"] = [
        format_verdict(verdict) if result.frames else None for result, verdict in zip(results, verdicts, strict=True)
    ]
    return Block(values, probs)


def _means(result: FileResult, unknown: Floats) -> Floats:
    if result.means is None or result.concept_means is None:
        return unknown
    return np.concatenate((result.means, result.concept_means))


def verdict_of(result: FileResult, concepts: Sequence[ConceptSpec]) -> Verdict:
    """Return the names of the concepts that are present in a file, by category."""
    if result.concept_means is None or result.present_s is None:
        return {}
    names, categories = [concept.name for concept in concepts], [concept.category for concept in concepts]
    columns = present_columns(names, categories, result.present_s, result.concept_means, result.seconds)
    return group_names(columns, names, categories)


def frame_block(path: str, first: int, probs: Floats, request: TableRequest) -> Block:
    """Return rows of probs [n, tags] of a file from frame `first` on; times are the windows' centres, s."""
    times = [round((first + row) * request.hop_s, 3) for row in range(len(probs))]
    labels = np.concatenate((probs, request.concept_map(probs)), axis=1)
    return Block({"path": [path] * len(probs), "time": times}, labels)


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
