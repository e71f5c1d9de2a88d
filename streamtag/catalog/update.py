"""What one run does to a catalogue: which files it tags, which rows it keeps, and which it removes or would lose."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from streamtag.catalog.files import AudioFile, as_utf8, is_gone
from streamtag.catalog.journal import Journal
from streamtag.errors import OutputError
from streamtag.text import one_line, plural, printable

READ_ROWS = 1 << 16  # of an existing table at once
WHAT_TO_DO = "--replace writes it anew from the files named now, another --out leaves it"


@dataclass(frozen=True)
class UpdateConfig:
    """model: the first digits of its fingerprint. keep_frames: every file needs its frames.

    prune: remove rows of files that no longer exist. replace: keep no row but those of the files that are named.
    """

    model: str
    keep_frames: bool = False
    prune: bool = False
    replace: bool = False


@dataclass(frozen=True)
class Changes:
    """Rows of the table: added, renewed (tagged again), unchanged, kept (of files that were not named), and removed.

    gone: of the kept ones, those whose files no longer exist. left: files that were named and not tagged.
    """

    added: int = 0
    renewed: int = 0
    unchanged: int = 0
    kept: int = 0
    gone: int = 0
    removed: int = 0
    left: int = 0

    def __str__(self) -> str:
        """Such as `added 12, renewed 3, unchanged 40, kept 100 from other folders, removed 2`."""
        counts = {
            "added {:,}": self.added,
            "renewed {:,}": self.renewed,
            "unchanged {:,}": self.unchanged,
            "kept {:,} from other folders": self.kept - self.gone,
            "kept {:,} of files that no longer exist (--prune removes them)": self.gone,
            "removed {:,}": self.removed,
        }
        return ", ".join(text.format(count) for text, count in counts.items() if count)


class Update:
    """The plan of one run, made before it tags, and what became of it.

    needed: the files to tag, named ones that are new or changed, that failed, or whose frames are needed.
    """

    def __init__(self, journal: Journal, files: Sequence[AudioFile], config: UpdateConfig) -> None:
        """Raises OutputError if the journal has results of another model that would be lost."""
        self._journal, self._config = journal, config
        self._before = dict(journal.entries)
        self._named = {file.abspath: file for file in files}
        self._check_model()
        self.needed = list(self._find_needed())

    def check_tables(self, tables: Sequence[tuple[Path, Sequence[str]]], with_frames: bool = False) -> None:
        """Raise OutputError if writing these tables, with these columns, would lose rows.

        with_frames: they are tables of frames, which are only known where they were kept.
        """
        if self._config.replace:
            return
        entries = self._journal.entries.items()
        known = {as_utf8(abspath) for abspath, line in entries if line.has_frames or not with_frames}
        known |= {as_utf8(abspath) for abspath in self._named}
        folders = [as_utf8(folder) for folder in self._journal.folders]

        def is_known(path: str) -> bool:
            places = [os.path.normpath(Path(folder) / path) for folder in folders]
            return any(place in known or (self._config.prune and is_gone(place)) for place in places)

        for path, columns in tables:
            check_existing(path, columns, is_known)

    @property
    def rows(self) -> list[str]:
        """The files of the table, sorted by path from the root."""
        model, entries = self._config.model, self._journal.entries
        kept = self._named.keys() | self._kept
        return sorted(abspath for abspath, line in entries.items() if line.model == model and abspath in kept)

    def remove_dropped(self) -> None:
        """Remove from the journal what is in no row. Call it when the tables are written. Raises OutputError."""
        rows = set(self.rows)
        self._journal.remove([abspath for abspath in self._journal.entries if abspath not in rows])

    def changes(self, tagged: Collection[str]) -> Changes:
        """Return what the run did. tagged: the paths from the root of the files that it tagged."""
        rows = set(self.rows)
        tagged = rows & set(tagged)
        missing = {file.abspath for file in self.needed} - tagged
        named = rows & self._named.keys()
        return Changes(
            added=len(tagged - self._before.keys()),
            renewed=len(tagged & self._before.keys()),
            unchanged=len(named - tagged - missing),
            kept=len(rows - named),
            gone=len(rows & self._gone),
            removed=len(self._before.keys() - rows),
            left=len(missing),
        )

    @cached_property
    def _gone(self) -> frozenset[str]:
        return frozenset(abspath for abspath in self._before.keys() - self._named.keys() if is_gone(abspath))

    @cached_property
    def _kept(self) -> frozenset[str]:
        """Files that were not named, and whose rows stay."""
        if self._config.replace:
            return frozenset()
        return frozenset(self._before.keys() - self._named.keys() - (self._gone if self._config.prune else set()))

    def _check_model(self) -> None:
        others = sum(line.model != self._config.model for line in self._before.values())
        if others and not self._config.replace:
            raise OutputError(
                f"{self._journal.path}: {plural(others, 'file')} of this table were tagged with another model:"
                f" {WHAT_TO_DO}"
            )

    def _find_needed(self) -> Iterator[AudioFile]:
        for file in self._named.values():
            result = self._journal.find(file, self._config.model)
            lacks_frames = result is not None and self._config.keep_frames and result.frames_id is None
            if result is None or result.error is not None or lacks_frames:
                yield file


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
