"""What one run does to a catalogue: which files it tags, which rows it keeps, and which it removes."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from streamtag.catalog.existing import WHAT_TO_DO, check_existing
from streamtag.catalog.files import AudioFile, as_utf8, is_gone
from streamtag.catalog.journal import Journal
from streamtag.errors import OutputError
from streamtag.text import plural


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
