"""The file of a history for its writer: what is stored together is stored as a whole or not at all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

from streamtag.history.schema import BUSY_TIMEOUT_S, open_for_writing
from streamtag.history.session import LostAudio, Minute, ModelInfo, Presence, Row, Session

SAVE_MINUTE = (
    "INSERT INTO minute (session_id, minute, frames, means) VALUES (?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET frames = excluded.frames, means = excluded.means"
)
UPDATE_SESSION = (
    "UPDATE session SET last_at = ?, last_s = ?, frames = ?, has_ended = ? WHERE id = ? AND start_at = ?"  # ours
)
ADD_SESSION = (
    "INSERT INTO session (stream_id, model_id, source, start_at, start_s, last_at, last_s, frames, has_ended)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
UPDATE_PRESENCE = "UPDATE presence SET off_ms = ?, peak = ?, mean = ? WHERE id = ?"
ADD_PRESENCE = "INSERT INTO presence (session_id, concept_id, on_ms, off_ms, peak, mean) VALUES (?, ?, ?, ?, ?, ?)"
ADD_GAP = "INSERT INTO gap (session_id, start_ms, lost_ms) VALUES (?, ?, ?)"
BATCH = 2000  # rows, or pages
OF_OLD_SESSIONS = "WHERE session_id IN (SELECT id FROM session WHERE last_at < :before)"  # also what is still on
OLD_MINUTES = "SELECT minute, session_id FROM minute WHERE minute < CAST(:before / 60 AS INTEGER) LIMIT :n"
STEPS = (  # what refers to something goes before it; one index lookup per session
    f"DELETE FROM minute WHERE (minute, session_id) IN ({OLD_MINUTES})",
    "DELETE FROM presence WHERE id IN (SELECT presence.id FROM session CROSS JOIN presence ON session_id = session.id"
    " WHERE start_at < :before AND off_ms < 1000 * (:before - start_at) LIMIT :n)",
    f"DELETE FROM presence WHERE id IN (SELECT id FROM presence {OF_OLD_SESSIONS} LIMIT :n)",
    "DELETE FROM gap WHERE id IN (SELECT gap.id FROM session CROSS JOIN gap ON session_id = session.id"
    " WHERE start_at < :before AND start_ms < 1000 * (:before - start_at) LIMIT :n)",
    f"DELETE FROM gap WHERE id IN (SELECT id FROM gap {OF_OLD_SESSIONS} LIMIT :n)",
    "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE last_at < :before LIMIT :n)",
    "DELETE FROM stream WHERE id NOT IN (SELECT stream_id FROM session)",
    "DELETE FROM model WHERE id NOT IN (SELECT model_id FROM session)",
)


class HistoryFile:
    """Opens the file when it is needed, and anew after an error or when another file has its name."""

    def __init__(self, path: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._path, self._busy_timeout_s = path, busy_timeout_s
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None  # of the file that is open, or was
        self._fresh: list[Session | Presence] = []  # rows of the transaction that runs
        self._concepts: dict[str, int] = {}

    def connect(self, live: Collection[Session] = (), rows: Collection[Row] = ()) -> sqlite3.Connection:
        """Return the connection. live, rows: what is to be stored; none of it has a row if the file is another one.

        Raises sqlite3.Error, OSError or OutputError.
        """
        if self._connection is not None and (found := self._read_identity()) != self._identity:
            self.close()
            if found is not None:  # SQLite would take the old file's log for the new one's
                for suffix in ("-wal", "-shm"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        if self._connection is None:
            self._connection = open_for_writing(self._path, busy_timeout_s=self._busy_timeout_s)
            identity = self._read_identity()
            if identity != self._identity:
                _forget_rows(live, rows)
            self._identity = identity
            self._concepts.clear()
        return self._connection

    def store(self, live: Collection[Session], rows: Collection[Row]) -> None:
        """Store what has changed in live sessions, and complete rows. Raises as `connect`; then nothing is stored."""
        connection = self.connect(live, rows)
        try:
            connection.execute("BEGIN IMMEDIATE")
            for row in rows:
                self._add(connection, row)
            for session in live:
                if session.is_changed:
                    self._add(connection, session)
                    for presence in session.present.values():
                        self._add(connection, presence)
                    if session.minute is not None:
                        self._add(connection, session.minute)
            connection.execute("COMMIT")
        except BaseException:
            for row in self._fresh:
                row.id = None
            self._concepts.clear()
            self.close()  # rolls back
            raise
        finally:
            self._fresh.clear()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read_identity(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _add(self, connection: sqlite3.Connection, row: Row) -> None:
        if isinstance(row, Session):
            self._save_session(connection, row)
            return
        session = row.session
        if session.id is None:
            self._save_session(connection, session)
        if isinstance(row, Minute):
            connection.execute(SAVE_MINUTE, (session.id, row.number, row.frames, row.means))
        elif isinstance(row, LostAudio):
            connection.execute(ADD_GAP, (session.id, _since_start(session, row.start_s), round(1000 * row.lost_s)))
        else:
            self._save_presence(connection, row)

    def _save_session(self, connection: sqlite3.Connection, session: Session) -> None:
        start_at = _time(session.at(session.start_s))
        last_at = _time(start_at + _since_start(session, session.last_s) / 1000)
        values = last_at, _time(session.last_s), session.frames, session.has_ended
        if session.id is not None:
            if connection.execute(UPDATE_SESSION, (*values, session.id, start_at)).rowcount:
                return
            session.forget_rows()  # somebody has deleted it
        name = _text(session.stream)
        connection.execute("INSERT OR IGNORE INTO stream (name) VALUES (?)", (name,))
        (stream,) = connection.execute("SELECT id FROM stream WHERE name = ?", (name,)).fetchone()
        model, source = _model_id(connection, session.model), _text(session.source)
        added = stream, model, source, start_at, _time(session.start_s), *values
        session.id = connection.execute(ADD_SESSION, added).lastrowid
        self._fresh.append(session)

    def _save_presence(self, connection: sqlite3.Connection, row: Presence) -> None:
        session = row.session
        off_ms = None if row.off_s is None else _since_start(session, row.off_s)
        values = off_ms, round(255 * row.peak), round(255 * row.mean)
        if row.id is not None and connection.execute(UPDATE_PRESENCE, (*values, row.id)).rowcount:
            return
        added = session.id, self._concept_id(connection, row), _since_start(session, row.on_s), *values
        row.id = connection.execute(ADD_PRESENCE, added).lastrowid
        self._fresh.append(row)

    def _concept_id(self, connection: sqlite3.Connection, row: Presence) -> int:
        name = _text(row.concept)
        if name not in self._concepts:
            category = _text(row.session.model.categories.get(row.concept, ""))
            connection.execute("INSERT OR IGNORE INTO concept (name, category) VALUES (?, ?)", (name, category))
            (number,) = connection.execute("SELECT id FROM concept WHERE name = ?", (name,)).fetchone()
            self._concepts[name] = number
        return self._concepts[name]


def delete_before(connection: sqlite3.Connection, before_at: float, batch: int = BATCH) -> Iterator[None]:
    """Delete what ended before a time [Unix time] and return the space to the file system; yields after every step.

    A session that goes on keeps its row. Raises sqlite3.Error; what is deleted by then stays deleted.
    """
    values = {"before": before_at, "n": batch}
    for statement in STEPS:
        while connection.execute(statement, values).rowcount >= batch:
            yield
    while connection.execute("PRAGMA freelist_count").fetchone() != (0,):
        connection.execute(f"PRAGMA incremental_vacuum({batch})").fetchall()
        yield


def _forget_rows(live: Collection[Session], rows: Collection[Row]) -> None:
    for row in rows:
        if isinstance(row, Presence):
            row.id = None
    for session in {*live, *(row if isinstance(row, Session) else row.session for row in rows)}:
        session.forget_rows()


def _model_id(connection: sqlite3.Connection, model: ModelInfo) -> int:
    tags, concepts = (
        _text(json.dumps(values, ensure_ascii=False))
        for values in (list(model.tags), [concept.to_dict() for concept in model.concepts])
    )
    values = _text(model.name), model.fingerprint, tags, concepts
    connection.execute("INSERT OR IGNORE INTO model (name, fingerprint, tags, concepts) VALUES (?, ?, ?, ?)", values)
    query = "SELECT id FROM model WHERE name = ? AND fingerprint = ? AND tags = ? AND concepts = ?"
    (number,) = connection.execute(query, values).fetchone()
    return int(number)


def _since_start(session: Session, position_s: float) -> int:
    """Return a position in milliseconds; added to the start that is stored it is exact. Negative before the start."""
    return round(1000 * _time(position_s)) - round(1000 * _time(session.start_s))


def _time(seconds: float) -> float:
    return round(seconds, 3)


def _text(text: str) -> str:
    """Return text that SQLite takes: names of files may contain broken UTF-8."""
    return text.encode(errors="replace").decode()
