"""SQLite files that are told apart from those of other programs by the application id in their header."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from streamtag.text import one_line, printable

MAX_REASON = 120  # characters


class ForeignFileError(Exception):
    """A file of another program. The text says what it is."""


def stored_version(connection: sqlite3.Connection, application_id: int, lock: bool = False) -> int:
    """Return the version of the tables, 0 for an empty file. lock: until it is closed, nobody else opens the file.

    Raises ForeignFileError, sqlite3.Error, and UnicodeDecodeError where even SQLite's reason is damaged.
    """
    try:
        with closing(connection.cursor()) as cursor:
            if lock:
                cursor.executescript("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT")
            # what is written last comes first: another program may be creating the file now
            (tables,) = cursor.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            (version,) = cursor.execute("PRAGMA user_version").fetchone()
            (application,) = cursor.execute("PRAGMA application_id").fetchone()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise ForeignFileError("another file") from None
        raise
    if application != application_id and (application or version or tables):
        raise ForeignFileError("the database of another program")
    return int(version)


def reason_of(error: Exception) -> str:
    """Return the reason of SQLite in one short line, without the damaged text that it quotes."""
    if isinstance(error, UnicodeDecodeError):  # of the reason itself
        return "broken text"
    return printable(one_line(error).partition(" with text ")[0])[:MAX_REASON]
