"""The results of a collection in an SQLite file, as they come: the next run continues a run that was killed.

- `result`: a row per path from the root, with the result as JSON.
- `block`: the frames that are kept, [frames, tags] float32; all names of one file share a row.
- `folder`: the working folders of all runs, to which relative paths in tables refer.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.source import Closing
from streamtag.catalog.files import AudioFile
from streamtag.catalog.result import FileResult
from streamtag.database import ForeignFileError, stored_version
from streamtag.errors import OutputError
from streamtag.text import one_line

APPLICATION_ID = 0x7374636A  # "stcj"
VERSION = 3
COMMIT_INTERVAL_S = 1.0  # what a kill can cost
FRAMES_PER_READ = 1 << 14
NO_SPACE = "no space left on device"
SCHEMA = f"""
    BEGIN;
    PRAGMA application_id = {APPLICATION_ID};
    PRAGMA user_version = {VERSION};
    CREATE TABLE result (
        path BLOB PRIMARY KEY, model TEXT NOT NULL, entry TEXT NOT NULL, frames_id INTEGER REFERENCES block
    );
    CREATE INDEX result_by_frames ON result (frames_id);
    CREATE TABLE block (id INTEGER PRIMARY KEY, probs BLOB NOT NULL);
    CREATE TABLE folder (path BLOB PRIMARY KEY);
    CREATE TRIGGER delete_frames AFTER DELETE ON result BEGIN
        DELETE FROM block
        WHERE id = old.frames_id AND NOT EXISTS (SELECT 1 FROM result WHERE frames_id = old.frames_id);
    END;
    COMMIT;
"""


class Entry(NamedTuple):
    """The model that a file was tagged with, and whether its frames are kept."""

    model: str
    has_frames: bool


class Journal(Closing):
    """Owned by one thread of one process: a second run is refused during the first.

    Memory holds a few numbers per file; results are read when they are requested. entries: by path from the root.
    folders: the working folders of all runs, this one's too.
    """

    def __init__(self, path: Path, replace: bool = False) -> None:
        """Create the file, or open the existing one. replace: if that is of another kind or version, begin anew.

        Raises OutputError.
        """
        self.path = path
        self._committed_at = time.monotonic()
        with ExitStack() as resources, self._report_errors():
            try:
                self._database = resources.enter_context(closing(_open(path)))
            except OutputError:
                if not replace:
                    raise
                path.unlink()
                self._database = resources.enter_context(closing(_open(path)))
            self._execute("INSERT OR IGNORE INTO folder VALUES (?)", os.fsencode(Path.cwd()))
            self._database.commit()
            self.folders = tuple(os.fsdecode(folder) for (folder,) in self._execute("SELECT path FROM folder"))
            rows = self._execute("SELECT path, model, frames_id IS NOT NULL FROM result")
            self.entries = {os.fsdecode(place): Entry(sys.intern(model), bool(has)) for place, model, has in rows}
            self._resources = resources.pop_all()

    def read(self, abspath: str) -> FileResult:
        """Return the result of a file that is among `entries`. Raises OutputError."""
        with self._report_errors():
            (entry,) = self._execute("SELECT entry FROM result WHERE path = ?", os.fsencode(abspath)).fetchone()
        return FileResult.from_json(entry)

    def find(self, file: AudioFile, model: str) -> FileResult | None:
        """Return the result of the file; None if there is none, the file has changed, or the model has."""
        if file.abspath not in self.entries:
            return None
        result = self.read(file.abspath)
        return result if result.is_valid_for(file, model) else None

    def add(self, result: FileResult, frames: NDArray[np.float32] | None) -> FileResult:
        """Add a result, and its frames [result.frames, tags] if they are kept.

        Returns the result with the place of its frames. Raises OutputError.
        """
        path = os.fsencode(result.abspath)
        with self._report_errors():
            if frames is not None:
                added = self._execute(
                    "INSERT INTO block (probs) VALUES (?)", frames.astype("<f4", copy=False).tobytes()
                )
                result = replace(result, frames_id=added.lastrowid)
            self._execute("DELETE FROM result WHERE path = ?", path)
            values = path, result.model, result.to_json(), result.frames_id
            self._execute("INSERT INTO result VALUES (?, ?, ?, ?)", *values)
        self.entries[result.abspath] = Entry(sys.intern(result.model), result.frames_id is not None)
        if time.monotonic() - self._committed_at > COMMIT_INTERVAL_S:
            self.commit()
        return result

    def commit(self) -> None:
        """Write everything so far to the disk. Raises OutputError."""
        with self._report_errors():
            self._database.commit()
        self._committed_at = time.monotonic()

    def remove(self, abspaths: Iterable[str]) -> None:
        """Remove results. Raises OutputError."""
        with self._report_errors():
            for abspath in abspaths:
                self._execute("DELETE FROM result WHERE path = ?", os.fsencode(abspath))
                self.entries.pop(abspath, None)
        self.commit()

    def frames(self, result: FileResult, tags: int, rows: int = FRAMES_PER_READ) -> Iterator[NDArray[np.float32]]:
        """Yield the frames of a result that has some, in blocks [n, tags], n <= rows. Raises OutputError."""
        with self._report_errors():
            (data,) = self._execute("SELECT probs FROM block WHERE id = ?", result.frames_id).fetchone()
        probs = np.frombuffer(data, "<f4").reshape(-1, tags)
        for row in range(0, len(probs), rows):
            yield probs[row : row + rows]

    def close(self) -> None:
        """Close the file. Uncommitted results are lost."""
        self._resources.close()

    def _execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self._database.execute(statement, values)

    @contextmanager
    def _report_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code == sqlite3.SQLITE_BUSY:
                raise OutputError(f"{self.path}: another run is writing this catalogue") from None
            if code == sqlite3.SQLITE_CORRUPT:
                raise OutputError(f"{self.path}: is damaged; delete it to begin anew") from None
            reason = NO_SPACE if code == sqlite3.SQLITE_FULL else one_line(error)
            raise OutputError(f"{self.path}: cannot write: {reason}") from None


def _open(path: Path) -> sqlite3.Connection:
    """Return the file, locked until it is closed. Raises OutputError if it is another one, and sqlite3.Error."""
    database = sqlite3.connect(path, timeout=0)
    try:
        version = stored_version(database, APPLICATION_ID, lock=True)
        if version not in (0, VERSION):
            raise ForeignFileError("another version")
        if version == 0:
            database.executescript(SCHEMA)
        (unused,), (pages,) = (database.execute(f"PRAGMA {name}_count").fetchone() for name in ("freelist", "page"))
        if 2 * unused > pages:
            database.execute("VACUUM")
    except ForeignFileError:
        database.close()
        raise OutputError(
            f"{path}: not a catalogue's journal, or one of another version of streamtag: --replace begins anew,"
            " another --out leaves it"
        ) from None
    except BaseException:
        database.close()
        raise
    return database
