"""Reads a history that another program may be writing: streams, sessions, gaps, and when concepts were present.

Every question is answered in pages of at most PAGE_ROWS rows, and none is open between two pages: a reader that stops
in the middle does not keep the writer from reusing space.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamtag.audio.source import Closing
from streamtag.database import reason_of
from streamtag.errors import SourceError
from streamtag.history.schema import open_for_reading
from streamtag.text import printable

PAGE_ROWS = 5_000
MAX_AT = 253_402_214_400.0  # 9999-12-31: later times have no date
MAX_MS = 1000 * MAX_AT


@dataclass(frozen=True)
class StreamSummary:
    """A stream from the beginning of its first session to the newest moment that is stored."""

    stream: str
    first_at: float
    last_at: float
    sessions: int


@dataclass(frozen=True)
class StoredSession:
    """One uninterrupted run of a stream."""

    id: int
    stream: str
    model: str
    source: str
    start_at: float
    last_at: float
    has_ended: bool

    def milliseconds(self, at: float) -> float:
        """Return a time as `..._ms` are stored, without the error of a difference of large numbers."""
        return round(1000 * (at - self.start_at), 2)


@dataclass(frozen=True)
class Presence:
    """A concept from when it came on to when it went off, or to the newest moment of its session if that is unknown.

    peak, mean: of its probability meanwhile. session: its id.
    """

    stream: str
    concept: str
    category: str
    on_at: float
    off_at: float
    peak: float
    mean: float
    session: int


@dataclass(frozen=True)
class StoredGap:
    """Audio that was lost. at: when it began. session: its id."""

    stream: str
    at: float
    lost_s: float
    session: int


class HistoryReader(Closing):
    """A history, open for reading. Every method raises SourceError if the file turns out to be damaged.

    Ranges are Unix times [s] from `from_at` on and before `to_at`; what only touches them is not in them. Streams and
    concepts are chosen by name, None: all; unknown names are ignored.
    """

    def __init__(self, path: Path) -> None:
        """Raises SourceError if it cannot be opened or is no history."""
        self._label = printable(str(path))
        self._connection = open_for_reading(path)
        self._rows("PRAGMA trusted_schema = OFF")
        self._rows("PRAGMA cell_size_check = ON")  # finds damage before it is read as something else

    def close(self) -> None:
        self._connection.close()

    def streams(self) -> list[StreamSummary]:
        """Return all streams, by name."""
        rows = self._rows(
            "SELECT name, min(start_at), max(last_at), count(*) FROM session JOIN stream ON stream.id = stream_id"
            " GROUP BY stream_id ORDER BY name"
        )
        return [StreamSummary(self._text(row[0]), self._at(row[1]), self._at(row[2]), row[3]) for row in rows]

    def concepts(self) -> dict[str, str]:
        """Return the category of every concept by name, in the order of the newest model, then of those before it."""
        found: dict[str, str] = {}
        for (text,) in self._rows("SELECT concepts FROM model ORDER BY id DESC"):
            try:
                found = {concept["name"]: concept["category"] for concept in json.loads(text)} | found
            except (ValueError, TypeError, LookupError):
                raise self._damaged() from None
        stored = self._rows("SELECT name, category FROM concept ORDER BY id")
        return found | {self._text(name): self._text(category) for name, category in stored}

    def sessions(self, from_at: float, to_at: float, streams: Sequence[str] | None = None) -> list[StoredSession]:
        """Return the sessions of which a part is in the range, by stream and time."""
        rows = self._rows(
            "SELECT session.id, stream.name, model.name, source, start_at, last_at, has_ended"
            " FROM session JOIN stream ON stream.id = stream_id JOIN model ON model.id = model_id"
            " WHERE last_at > ? AND start_at < ? ORDER BY stream.name, start_at, session.id",
            (from_at, to_at),
        )
        sessions = [
            StoredSession(
                number,
                self._text(stream),
                self._text(model),
                self._text(source),
                self._at(start_at),
                self._at(last_at),
                bool(has_ended),
            )
            for number, stream, model, source, start_at, last_at, has_ended in rows
        ]
        return [session for session in sessions if streams is None or session.stream in streams]

    def gaps(self, from_at: float, to_at: float, streams: Sequence[str] | None = None) -> Iterator[StoredGap]:
        """Yield the gaps that began in the range, by stream and time."""
        query = (
            "SELECT start_ms, id, lost_ms FROM gap WHERE session_id = ? AND (start_ms, id) > (?, ?) AND start_ms < ?"
            f" ORDER BY start_ms, id LIMIT {PAGE_ROWS}"
        )
        for session in self.sessions(from_at, to_at, streams):
            last: tuple[Any, ...] = (session.milliseconds(from_at), -1)
            while rows := self._rows(query, (session.id, *last, session.milliseconds(to_at))):
                for start_ms, _, lost_ms in rows:
                    at, lost_s = self._moment(session, start_ms), self._number(lost_ms) / 1000
                    yield StoredGap(session.stream, at, lost_s, session.id)
                last = self._later(rows[-1][:2], last)

    def presences(
        self, from_at: float, to_at: float, streams: Sequence[str] | None = None, concepts: Sequence[str] | None = None
    ) -> Iterator[Presence]:
        """Yield the presences of which a part is in the range, each as a whole, by stream and session.

        Those of a session come in the order in which they ended, but first those that have not.
        """
        query = (
            "SELECT off_ms, on_ms, presence.id, concept.name, category, peak, mean FROM presence"
            " JOIN concept ON concept.id = concept_id WHERE session_id = ? AND on_ms < ?"
        )
        page = "AND (off_ms, on_ms, presence.id) > (?, ?, ?) ORDER BY off_ms, on_ms, presence.id"
        for session in self.sessions(from_at, to_at, streams):
            to_ms = session.milliseconds(to_at)
            rows = self._rows(f"{query} AND off_ms IS NULL ORDER BY on_ms", (session.id, to_ms))
            seen = {row[2] for row in rows}  # one that goes off before the next page is not yielded twice
            yield from self._as_presences(rows, session, concepts)
            last: tuple[Any, ...] = (session.milliseconds(from_at), MAX_MS, 0)
            while rows := self._rows(f"{query} {page} LIMIT {PAGE_ROWS}", (session.id, to_ms, *last)):
                yield from self._as_presences([row for row in rows if row[2] not in seen], session, concepts)
                last = self._later(rows[-1][:3], last)

    def _as_presences(
        self, rows: list[tuple[Any, ...]], session: StoredSession, concepts: Sequence[str] | None
    ) -> Iterator[Presence]:
        for off_ms, on_ms, _, name, category, peak, mean in rows:
            if concepts is None or name in concepts:
                on_at = self._moment(session, on_ms)
                off_at = max(on_at, session.last_at if off_ms is None else self._moment(session, off_ms))
                values = on_at, off_at, self._number(peak) / 255, self._number(mean) / 255, session.id
                yield Presence(session.stream, self._text(name), self._text(category), *values)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with closing(self._connection.cursor()) as cursor:
                return cursor.execute(query, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter where even the reason is damaged
            raise SourceError(f"{self._label}: cannot be read as a history: {reason_of(error)}") from None

    def _later(self, key: tuple[Any, ...], before: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the key of a page's last row; it must be later than the one before, or reading would never end."""
        if not tuple(map(self._number, key)) > before:
            raise self._damaged()
        return key

    # SQLite stores anything in any column, and a damaged page is read as far as its numbers make sense

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self._damaged()
        return value

    def _number(self, value: Any) -> float:
        if not isinstance(value, int | float) or not abs(value) <= MAX_MS:
            raise self._damaged()
        return float(value)

    def _at(self, value: Any) -> float:
        if not 0 <= (at := self._number(value)) <= MAX_AT:
            raise self._damaged()
        return at

    def _moment(self, session: StoredSession, ms: Any) -> float:
        return self._at(round(session.start_at + self._number(ms) / 1000, 3))

    def _damaged(self) -> SourceError:
        return SourceError(f"{self._label}: a damaged history: values that cannot be")
