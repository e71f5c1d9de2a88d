"""A history that is the same every time: three streams before a fixed moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from streamtag.history.schema import open_for_writing
from streamtag.protocol.messages import Concept

NOW = 1_795_807_270.0  # 2026-11-27 20:21:10 in Berlin
ZONE = "Europe/Berlin"
HOUR_S, HOUR_MS = 3600.0, 3_600_000
SESSIONS = (  # stream, from and to in hours before NOW, whether it has ended
    ("bar", 40.0, 0.0, False),
    ("hall with a rather long name", 30.0, 18.0, True),
    ("hall with a rather long name", 14.5, 0.0, False),
    ("roof", 20.0, 9.0, False),
)
GAPS = (("hall with a rather long name", 22.0, 1.4), ("hall with a rather long name", 3.0, 420.0))  # and length [s]


def _presences() -> Iterator[tuple[str, str, float, float | None]]:
    """Yield stream, concept, and from and to in hours before NOW, to None: it is still on."""
    for hour in range(2, 26, 3):
        yield "bar", "guitar", hour, hour - 1.0
        yield "bar", "no vocals", hour + 0.5, hour - 1.2
    for hour in range(1, 30):
        yield "bar", "drums", hour, hour - 0.2
        yield "bar", "fast", hour, hour - 0.05
    yield "bar", "techno", 1.8, None
    for concept, start, end in (("classical", 23.5, 18.2), ("strings", 23.0, 19.0), ("slow", 12.0, 6.0)):
        yield "hall with a rather long name", concept, start, end
    yield "hall with a rather long name", "male vocals", 2.5, 2.48
    yield "roof", "electronic", 15.0, None


def write_history(path: Path, concepts: Sequence[Concept]) -> None:
    """Write it, with the categories of these concepts."""
    with closing(open_for_writing(path)) as connection:

        def insert(table: str, *values: Any) -> None:
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)

        connection.execute("BEGIN")
        insert("model", 1, "small", "", "[]", "[]")
        for number, concept in enumerate(concepts, 1):
            insert("concept", number, concept.name, concept.category)
        numbers = {concept.name: number for number, concept in enumerate(concepts, 1)}
        for number, name in enumerate(dict.fromkeys(session[0] for session in SESSIONS), 1):
            insert("stream", number, name)
        for number, (stream, start, end, has_ended) in enumerate(SESSIONS, 1):
            start_at, last_at = NOW - HOUR_S * start, NOW - HOUR_S * end
            (owner,) = connection.execute("SELECT id FROM stream WHERE name = ?", (stream,)).fetchone()
            insert("session", number, owner, 1, "", start_at, last_at, 0, last_at - start_at, 0, has_ended)

        def session_of(stream: str, hours: float) -> tuple[int, float]:
            """Return its number, and where it began in hours before NOW."""
            sessions = enumerate(SESSIONS, 1)
            return next(
                (number, each[1]) for number, each in sessions if each[0] == stream and each[1] >= hours > each[2]
            )

        for stream, name, start, end_or_none in _presences():
            number, begin = session_of(stream, start)
            off_ms = None if end_or_none is None else round(HOUR_MS * (begin - end_or_none))
            insert("presence", None, number, numbers[name], round(HOUR_MS * (begin - start)), off_ms, 230, 204)
        for stream, start, lost_s in GAPS:
            number, begin = session_of(stream, start)
            insert("gap", None, number, round(HOUR_MS * (begin - start)), round(1000 * lost_s))
        connection.execute("COMMIT")
