"""The tables of a run, in the formats that their names ask for: whole, or not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from streamtag.catalog.files import AudioFile
from streamtag.catalog.journal import Journal
from streamtag.catalog.result import FileResult
from streamtag.catalog.table import FILE_COLUMNS, FRAME_COLUMNS, Table, file_block, frame_block, in_blocks

if TYPE_CHECKING:
    from streamtag.api import Tagger

ROWS = 4096  # files that are held at once


@dataclass(frozen=True)
class Written:
    """What stands in the tables: files, failed of them; failures: the first few."""

    files: int
    failed: int
    failures: tuple[tuple[AudioFile, str], ...]


def write_tables(
    journal: Journal,
    sounds: Sequence[AudioFile],
    tagger: Tagger,
    model: str,
    top: int,
    outs: Sequence[Path],
    frames: Path | None,
    failures: int,
) -> Written:
    """A row for every sound that the journal knows. failures: so many are told. Raises OutputError."""
    hop_s = tagger.network.spec.hop_s
    files = failed = 0
    told: list[tuple[AudioFile, str]] = []
    with ExitStack() as resources:
        tables = [resources.enter_context(_table(path, FILE_COLUMNS, tagger.tags)) for path in outs]
        frame_table = resources.enter_context(_table(frames, FRAME_COLUMNS, tagger.tags)) if frames else None
        for rows in in_blocks(_known(journal, sounds, model), ROWS):
            block = file_block([(sound.text, entry) for sound, entry in rows], tagger.tags, top)
            for table in tables:
                table.write(block)
            for sound, entry in rows:
                if entry.error is not None:
                    failed += 1
                    told += [(sound, entry.error)] if len(told) < failures else []
                if frame_table is not None and entry.frames:
                    first = 0
                    for probs in journal.frames(entry, len(tagger.tags)):
                        frame_table.write(frame_block(sound.text, first, probs, hop_s))
                        first += len(probs)
            files += len(rows)
    return Written(files, failed, tuple(told))


def _known(journal: Journal, sounds: Sequence[AudioFile], model: str) -> Iterator[tuple[AudioFile, FileResult]]:
    for sound in sounds:
        if (entry := journal.entry(sound, model)) is not None:
            yield sound, entry


def _table(path: Path, columns: Sequence[str], tags: Sequence[str]) -> Table:
    if path.suffix.lower() == ".parquet":
        from streamtag.catalog.parquet_table import ParquetTable

        return ParquetTable(path, columns, tags)
    from streamtag.catalog.csv_table import CsvTable

    return CsvTable(path, columns, tags)
