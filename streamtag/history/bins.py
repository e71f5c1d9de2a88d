"""What was heard in a range of time, in bins of equal length: what the Day view of the page draws.

The SQL follows the indexes of `schema`: a few sessions, then for each a range of `presence` and of `gap`.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import SourceError, SpecError, StreamtagError
from streamtag.history.schema import open_for_reading
from streamtag.text import one_line, printable

MAX_BINS = 1500
MAX_STREAMS = 64
MAX_GAPS = 100  # of a stream, the longest
MAX_PRESENCES = 500_000  # rows in the range
MAX_VALUES = 1_000_000  # bins of all concepts together
MIN_RESOLUTION_S = 1.0
MAX_RANGE_S = 31 * 86400.0
MAX_AT = 1e11  # Unix time; some 3,000 years
LONGEST_GAP_S = 3600.0  # one that began longer ago than this before the range only shows as time not heard
STEPS_BETWEEN_CHECKS = 10_000  # of SQLite's virtual machine: less than a millisecond

IN_RANGE = "session.last_at > :from_at AND session.start_at < :to_at"
STREAMS = f"""
    SELECT stream.id, stream.name, count(*) OVER () FROM session JOIN stream ON stream.id = session.stream_id
    WHERE {IN_RANGE} AND (:streams IS NULL OR stream.name IN (SELECT value FROM json_each(:streams)))
    GROUP BY stream.id
    ORDER BY sum(min(session.last_at, :to_at) - max(session.start_at, :from_at)) DESC, stream.name LIMIT {MAX_STREAMS}
"""
EXTENT = "SELECT min(start_at), max(last_at) FROM session"
EXTENTS = """
    SELECT stream_id, min(start_at), max(last_at) FROM session
    WHERE stream_id IN (SELECT value FROM json_each(:ids)) GROUP BY stream_id
"""
SESSIONS = f"""
    SELECT stream_id, start_at, last_at, id FROM session
    WHERE {IN_RANGE} AND stream_id IN (SELECT value FROM json_each(:ids))
"""
# Times count from the start of a session; rounded, since the difference of large numbers is not exact.
CHOSEN = f"""
    chosen AS MATERIALIZED (
        SELECT stream_id, id, start_at, round(1000 * (:from_at - start_at), 2) AS from_ms,
            round(1000 * (:to_at - start_at), 2) AS to_ms, 1000 * (last_at - start_at) AS last_ms FROM ({SESSIONS})
    )
"""
# One branch for what went off and one for what has not: each is a range of the index, which holds all that is read.
PRESENCES = f"""
    WITH {CHOSEN}
    SELECT session_id, concept_id, on_ms, off_ms FROM chosen CROSS JOIN presence ON session_id = chosen.id
    WHERE off_ms > from_ms AND on_ms < to_ms
    UNION ALL
    SELECT session_id, concept_id, on_ms, last_ms FROM chosen CROSS JOIN presence ON session_id = chosen.id
    WHERE off_ms IS NULL AND on_ms < to_ms
    LIMIT :max_presences + 1
"""
GAPS = f"""
    WITH {CHOSEN},
    lost AS (
        SELECT stream_id, round(start_at + start_ms / 1000.0, 3) AS at, lost_ms / 1000.0 AS lost_s
        FROM chosen CROSS JOIN gap ON session_id = chosen.id
        WHERE start_ms > from_ms - {1000 * LONGEST_GAP_S} AND start_ms < to_ms AND start_ms + lost_ms > from_ms
    ),
    gaps AS (
        SELECT stream_id, at, lost_s, row_number() OVER (PARTITION BY stream_id ORDER BY lost_s DESC) AS place,
            count(*) OVER (PARTITION BY stream_id) AS gap_count, sum(lost_s) OVER (PARTITION BY stream_id) AS lost
        FROM lost
    )
    SELECT stream_id, at, lost_s, gap_count, lost FROM gaps WHERE place <= {MAX_GAPS} ORDER BY at
"""


@dataclass(frozen=True)
class TimeBins:
    """A range of Unix times [s] in bins of `resolution_s`. Raises SpecError for what nobody should ask for."""

    from_at: float
    to_at: float
    resolution_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.from_at < self.to_at <= MAX_AT:
            raise SpecError("from and to are Unix times in seconds, and from comes before to")
        if self.to_at - self.from_at > MAX_RANGE_S:
            raise SpecError(f"from and to lie at most {MAX_RANGE_S / 86400:.0f} days apart")
        if not MIN_RESOLUTION_S <= self.resolution_s <= MAX_RANGE_S:
            raise SpecError(f"resolution is a number of seconds from {MIN_RESOLUTION_S:g} on")
        if self.count > MAX_BINS:
            raise SpecError(f"from, to and resolution make {self.count} bins: {MAX_BINS} are allowed")

    @property
    def count(self) -> int:
        """The number of bins. The last one may reach beyond `to_at`."""
        return math.ceil((self.to_at - self.from_at) / self.resolution_s)

    @property
    def end_at(self) -> float:
        """Where the last bin ends."""
        return self.from_at + self.count * self.resolution_s

    def covered(self, rows: NDArray[np.intp], starts: Any, ends: Any, row_count: int) -> NDArray[np.float64]:
        """Return the fraction of each bin that the intervals of each row cover [R, B], 1 where they overlap.

        rows, starts, ends: of the intervals [N]: the row that they belong to, and Unix times.
        """
        width = self.count + 1
        begin = np.clip((np.asarray(starts, float) - self.from_at) / self.resolution_s, 0, self.count)
        end = np.clip((np.asarray(ends, float) - self.from_at) / self.resolution_s, 0, self.count)
        is_some = (end > begin) & (begin < self.count)
        rows, begin, end = rows[is_some] * width, begin[is_some], end[is_some]
        first, last = begin.astype(np.intp), end.astype(np.intp)

        def summed(places: list[Any], weights: list[Any]) -> NDArray[np.float64]:
            sums = np.bincount(np.concatenate(places), np.concatenate(weights), row_count * width)
            return sums.astype(np.float64).reshape(row_count, width)

        # the parts of the first and the last bin, and 1 from the second bin on to the one before the last
        parts = summed([rows + first, rows + last], [1 - (begin - first), end - last])
        ones = np.ones(len(rows))
        parts += summed([rows + first + 1, rows + last], [ones, -ones]).cumsum(axis=1)
        return np.clip(parts[:, :-1], 0, 1)


@dataclass(frozen=True)
class ConceptBins:
    """A concept that was present. seconds: in the range; present [B]: fraction of each bin."""

    concept: str
    category: str
    seconds: float
    present: NDArray[np.float64]


@dataclass(frozen=True)
class StreamBins:
    """A stream. first_at, last_at: of its whole history. heard [B]: fraction of each bin in which it ran.

    gaps: Unix time and length [s], at most MAX_GAPS, the longest, by time; gap_count, lost_s: of all in the range.
    concepts: longest first.
    """

    stream: str
    first_at: float
    last_at: float
    heard: NDArray[np.float64]
    gaps: tuple[tuple[float, float], ...]
    gap_count: int
    lost_s: float
    concepts: tuple[ConceptBins, ...]


@dataclass(frozen=True)
class DayHistory:
    """The streams of a range, by name. left_out: more that were heard less long. first_at, last_at: of everything."""

    bins: TimeBins
    first_at: float | None
    last_at: float | None
    streams: tuple[StreamBins, ...]
    left_out: int


def read_bins(
    path: Path,
    bins: TimeBins,
    streams: Sequence[str] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    max_presences: int = MAX_PRESENCES,
    max_values: int = MAX_VALUES,
) -> DayHistory:
    """Read a history in which another program may be writing. streams: names, None: all; unknown ones are left out.

    should_stop: asked all the time; a query that it stops raises SourceError, as does a file that cannot be read.
    Raises SpecError for a range in which there is too much.
    """
    try:
        with closing(open_for_reading(path)) as connection:
            connection.set_progress_handler(should_stop, STEPS_BETWEEN_CHECKS)
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("BEGIN")  # all queries see the same moment
            return _read(connection, bins, streams, max_presences, max_values)
    except StreamtagError:
        raise
    except (sqlite3.Error, ValueError, TypeError, LookupError, OverflowError) as error:
        is_sql = isinstance(error, sqlite3.Error)
        reason = one_line(error) if is_sql else "a damaged history: values that cannot be"
        raise SourceError(f"{printable(str(path))}: {reason}") from None


def _read(
    connection: sqlite3.Connection,
    bins: TimeBins,
    streams: Sequence[str] | None,
    max_presences: int,
    max_values: int,
) -> DayHistory:
    def rows(query: str, **values: Any) -> list[tuple[Any, ...]]:
        return connection.execute(query, {"from_at": bins.from_at, "to_at": bins.end_at} | values).fetchall()

    first_at, last_at = (None if at is None else float(at) for at in rows(EXTENT)[0])
    found = rows(STREAMS, streams=None if streams is None else _json_array(streams))
    left_out = found[0][2] - len(found) if found else 0
    found.sort(key=lambda row: str(row[1]))
    place = {number: index for index, (number, *_) in enumerate(found)}
    ids = _json_array(place)
    sessions = _as_columns(rows(SESSIONS, ids=ids), 4)
    owners = np.array([place[int(number)] for number in sessions[:, 0]], np.intp)
    heard = bins.covered(owners, sessions[:, 1], sessions[:, 2], len(found))
    stored = rows(PRESENCES, ids=ids, max_presences=max_presences)
    if len(stored) > max_presences:
        raise SpecError(f"more than {max_presences:,} events lie in this range: ask for less time, or for one stream")
    concepts = _concepts(connection, bins, _as_presences(_as_columns(stored, 4), sessions), place, max_values)
    gaps: dict[int, list[tuple[float, ...]]] = {number: [] for number in place}
    for number, *values in rows(GAPS, ids=ids):
        gaps[number].append(tuple(map(float, values)))
    extents = {number: (float(first), float(last)) for number, first, last in rows(EXTENTS, ids=ids)}
    results = []
    for number, name, _ in found:
        count, lost_s = gaps[number][0][2:] if gaps[number] else (0, 0.0)
        own_gaps = tuple((at, lost) for at, lost, *_ in gaps[number])
        row = place[number]
        results.append(StreamBins(str(name), *extents[number], heard[row], own_gaps, int(count), lost_s, concepts[row]))
    return DayHistory(bins, first_at, last_at, tuple(results), left_out)


def _concepts(
    connection: sqlite3.Connection,
    bins: TimeBins,
    presences: NDArray[np.float64],
    place: dict[int, int],
    max_values: int,
) -> list[tuple[ConceptBins, ...]]:
    """Return the concepts of each stream. presences: stream, concept, on and off [N, 4]."""
    stored = connection.execute("SELECT id, name, category FROM concept")
    names = {number: (str(name), str(category)) for number, name, category in stored}
    # the stream as the real part, the concept as the imaginary one: sorted ten times as fast as rows of two columns
    pairs, rows = np.unique(presences[:, 0] + 1j * presences[:, 1], return_inverse=True)
    if len(pairs) * bins.count > max_values:
        raise SpecError("too many concepts and bins: ask for a longer resolution, or for one stream")
    owners = np.array([place[int(pair.real)] for pair in pairs], np.intp)
    present = bins.covered(rows, presences[:, 2], presences[:, 3], len(pairs))
    seconds = present.sum(axis=1) * bins.resolution_s
    found: list[list[ConceptBins]] = [[] for _ in place]
    for row in np.argsort(-seconds, kind="stable"):
        if seconds[row] > 0:
            concept = ConceptBins(*names[int(pairs[row].imag)], float(seconds[row]), present[row])
            found[owners[row]].append(concept)
    return [tuple(concepts) for concepts in found]


def _as_presences(values: NDArray[np.float64], sessions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return stream, concept, on and off by the clock [N, 4]. values: session, concept, on and off since its start."""
    order = sessions[:, 3].argsort()
    owners = sessions[order][np.searchsorted(sessions[order, 3], values[:, 0])]
    times = owners[:, 1:2] + values[:, 2:] / 1000
    return np.column_stack([owners[:, 0], values[:, 1], times])


def _as_columns(rows: list[tuple[Any, ...]], width: int) -> NDArray[np.float64]:
    # half the time of np.array where integers are among the values
    values = np.fromiter(chain.from_iterable(rows), np.float64, width * len(rows)).reshape(-1, width)
    if not np.isfinite(values).all():
        raise ValueError("a time that is no number")
    return values


def _json_array(values: Any) -> str:
    return json.dumps(list(values))
