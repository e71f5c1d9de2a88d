"""The tables of a history, and how its file is opened.

All `..._at` are wall-clock times as Unix time [s, UTC]; all `..._s` are positions in the stream or lengths [s]. All
`..._ms` are whole milliseconds, which take half the space: positions count from the start of the session, so they are
`start_at + on_ms / 1000.0` by the clock and `start_s + on_ms / 1000.0` in the stream.

- `model`: what computed. `tags`, `concepts`: JSON arrays as in a hello message; together, in this order, they are the
  labels of `minute.means`. `fingerprint`: of the weights, empty where it is unknown.
- `stream`: names. `concept`: names with their category.
- `session`: one uninterrupted run of a stream: a stream that falls behind the clock, because it or the computer was
  paused, continues in another one. `last_at`, `last_s`: the newest moment that is stored. `has_ended`: nothing follows;
  otherwise the program was killed, or the session is running.
- `presence`: from when to when a concept was on, with the peak and the mean of its probability meanwhile in parts of
  255. `off_ms` is NULL while it is on; after a kill it stays so, and the session's `last_at` counts as the end.
- `gap`: audio that was lost, from `start_ms` on.
- `minute`: of each minute of the wall clock (`minute` = Unix time // 60), the number of frames and the mean of every
  label: one byte each, `round(255 * mean)`. In order of time, so that the newest of all sessions lie on one page.
- `heard`: a view of `presence` with names and times instead of numbers. `off_at` is never NULL, `off_s` is while the
  concept is on; `peak` and `mean` are 0 to 1:

      SELECT concept, sum(off_at - on_at) / 3600 AS hours FROM heard WHERE stream = 'radio' GROUP BY concept

  A question about a part of a large history is answered faster from the tables, session by session, with the index.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from streamtag.database import ForeignFileError, reason_of, stored_version
from streamtag.errors import OutputError, SourceError, StreamtagError
from streamtag.text import printable

APPLICATION_ID = 0x73747468  # "stth"; `file` and SQLite's tools show it
BUSY_TIMEOUT_S = 1.0  # how long a statement waits for a lock
MAX_WAL_BYTES = 8 << 20  # of the write-ahead log after a checkpoint; it grows while somebody reads
MIGRATIONS = (  # each leads from the version of its index to the next one; no semicolon inside of a statement
    """
    CREATE TABLE model (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, fingerprint TEXT NOT NULL, tags TEXT NOT NULL,
        concepts TEXT NOT NULL, UNIQUE (name, fingerprint, tags, concepts)
    );
    CREATE TABLE stream (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE concept (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, category TEXT NOT NULL);
    CREATE TABLE session (
        id INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream,
        model_id INTEGER NOT NULL REFERENCES model, source TEXT NOT NULL, start_at REAL NOT NULL, last_at REAL NOT NULL,
        start_s REAL NOT NULL, last_s REAL NOT NULL, frames INTEGER NOT NULL, has_ended INTEGER NOT NULL
    );
    CREATE INDEX session_by_time ON session (last_at);
    CREATE TABLE presence (
        id INTEGER PRIMARY KEY, session_id INTEGER NOT NULL REFERENCES session,
        concept_id INTEGER NOT NULL REFERENCES concept, on_ms INTEGER NOT NULL, off_ms INTEGER,
        peak INTEGER NOT NULL, mean INTEGER NOT NULL
    );
    CREATE INDEX presence_by_time ON presence (session_id, off_ms, on_ms, concept_id);
    CREATE TABLE gap (
        id INTEGER PRIMARY KEY, session_id INTEGER NOT NULL REFERENCES session, start_ms INTEGER NOT NULL,
        lost_ms INTEGER NOT NULL
    );
    CREATE INDEX gap_by_time ON gap (session_id, start_ms);
    CREATE TABLE minute (
        session_id INTEGER NOT NULL REFERENCES session, minute INTEGER NOT NULL, frames INTEGER NOT NULL,
        means BLOB NOT NULL, PRIMARY KEY (minute, session_id)
    ) WITHOUT ROWID;
    CREATE VIEW heard AS
    SELECT stream.name AS stream, concept.name AS concept, category, round(start_at + on_ms / 1000.0, 3) AS on_at,
        round(coalesce(start_at + off_ms / 1000.0, last_at), 3) AS off_at, round(start_s + on_ms / 1000.0, 3) AS on_s,
        round(start_s + off_ms / 1000.0, 3) AS off_s, peak / 255.0 AS peak, mean / 255.0 AS mean, session_id
    FROM presence JOIN session ON session.id = session_id JOIN stream ON stream.id = stream_id
        JOIN concept ON concept.id = concept_id;
    """,
)


def open_for_writing(
    path: Path, migrations: Sequence[str] = MIGRATIONS, busy_timeout_s: float = BUSY_TIMEOUT_S
) -> sqlite3.Connection:
    """Open a history, create it where there is none, and bring it to the newest version.

    Statements outside a transaction are committed one by one (BEGIN and COMMIT are the caller's).
    busy_timeout_s: how long one waits for a lock. Raises OutputError for the file of another program or of a newer
    streamtag, and sqlite3.Error where the reason may pass: a locked file, a full disk.
    """
    connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    try:
        version = _version(connection, path, OutputError, len(migrations))
        if version == 0:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # survives a kill; a power failure costs the last moments
        connection.execute(f"PRAGMA journal_size_limit = {MAX_WAL_BYTES}")
        if version < len(migrations):
            _migrate(connection, path, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection, path, OutputError, len(migrations))  # another program may have been faster
        for statement in ";".join(migrations[version:]).split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def open_for_reading(path: Path, migrations: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    """Open a history that another program may be writing. Raises SourceError."""
    label = printable(str(path))
    if not path.is_file():
        raise SourceError(f"{label}: {'is a folder' if path.is_dir() else 'no such file'}, not a history")
    try:
        connection = _connect_read_only(path)
        try:
            version = _version(connection, path, SourceError, len(migrations))
            if version < len(migrations):
                text = "is a history of an older version: open it once with --history, which brings it up to date"
                raise SourceError(f"{label}: {text}" if version else f"{label}: not a history")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise SourceError(f"{label}: {error}") from None
    return connection


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """In a folder that cannot be written SQLite opens a file in WAL mode only if it may assume that nobody writes."""
    uri = path.resolve().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.OperationalError:
        pass
    except (sqlite3.DatabaseError, UnicodeDecodeError):  # no database at all, as the version will tell
        return connection
    else:
        return connection
    connection.close()
    return sqlite3.connect(f"{uri}?immutable=1", uri=True, check_same_thread=False)


def _version(connection: sqlite3.Connection, path: Path, kind: type[StreamtagError], newest: int) -> int:
    """Return the version of the tables, 0 for an empty file. Raises an error of this kind for what is no history."""
    label = printable(str(path))
    try:
        version = stored_version(connection, APPLICATION_ID)
    except ForeignFileError as error:
        raise kind(f"{label}: not a history, but {error}") from None
    except sqlite3.OperationalError:
        raise
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise kind(f"{label}: a damaged database: {reason_of(error)}") from None
    if version > newest:
        raise kind(f"{label}: a history of a newer streamtag (version {version}, known: {newest})")
    return version
