"""Deletes what is older than a time, in small steps, so that other programs may write in between."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

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
