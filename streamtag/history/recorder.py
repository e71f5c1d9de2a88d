"""Records the messages of many streams in a history, once a second, whatever happens to its file."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from heapq import merge
from pathlib import Path

from streamtag.audio.source import Closing
from streamtag.errors import OutputError, StreamtagError
from streamtag.history.file import HistoryFile, delete_before
from streamtag.history.schema import BUSY_TIMEOUT_S
from streamtag.history.session import ModelInfo, Row, Session
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Event, Frame, Gap, Hello, History, Message
from streamtag.text import one_line, plural, printable

COMMIT_INTERVAL_S = 1.0
RETENTION_INTERVAL_S = 3600.0
DAY_S = 86_400.0
MAX_WAITING = 50_000  # complete rows that could not be stored: hours of 16 streams, 30 MB
MAX_LAG_S = 10.0  # a stream that is further behind the clock was paused
RESTART_S = 5.0  # a position that is further back belongs to a new stream of that name
MAX_POSITION_S = 1e9  # what a server may say; later ones have no date
CLOSING_ATTEMPTS = 3
TRANSIENT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}  # may pass


class Recorder(Closing):
    """A sink for the messages of any number of streams; the first one is a Hello. Owned by one thread.

    Call `poll` at least every half second. Then everything but the last two seconds survives a kill: also the current
    minute, and what is on. No method raises because of the file: a problem is reported once until it is over; complete
    rows wait meanwhile, and `close` reports what was not stored.

    The wall-clock time of a stream's first position is that of the first message; positions count from there. So a
    file that is tagged faster than it plays is stored as if it had been played.
    """

    def __init__(
        self,
        path: Path,
        report: Callable[[str], None],
        fingerprint: str = "",
        source_of: Callable[[str], str | None] = lambda _: None,
        keep_days: float | None = None,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        max_waiting: int = MAX_WAITING,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        """report: called with one line for people. fingerprint: of the weights. source_of: the source of a stream
        by its name, where `begin` does not name it; None: unknown.

        keep_days: what is older is deleted (None: never). clock: Unix time. timer: seconds that never jump.
        max_waiting: complete rows that are kept while they cannot be stored; of more the oldest are given up.
        busy_timeout_s: how long the file may be locked by another program.

        Raises OutputError if the file is not a history, or cannot be written and that will not pass by itself.
        """
        self._label = printable(str(path))
        self._report = report
        self._fingerprint, self._source_of, self._keep_days = fingerprint, source_of, keep_days
        self._clock, self._timer = clock, timer
        self._file = HistoryFile(path, busy_timeout_s)
        self._model: ModelInfo | None = None
        self._sources: dict[str, str] = {}
        self._live: dict[str, Session] = {}
        self._waiting: deque[Row] = deque()
        self._max_waiting = max_waiting
        self._unstored = self._dropped = 0  # rows; frames that did not come
        self._problem: str | None = None  # what was reported
        self._is_closed = False
        self._next_commit = self._next_retention = timer()
        self._retention: Iterator[None] | None = None
        try:
            self._file.connect()
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF not in TRANSIENT:
                raise OutputError(f"{self._label}: cannot write: {one_line(error)}") from None
            self._report_problem(error)

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        self._sources[stream.name] = stream.source

    def write(self, message: Message) -> None:
        if isinstance(message, Hello):
            self._set_model(ModelInfo.of(message, self._fingerprint))
        elif isinstance(message, History):
            self._add_past(message)
        elif isinstance(message, End):
            self._sources.pop(message.stream, None)
            if (session := self._live.pop(message.stream, None)) is not None:
                session.end(message)
        elif isinstance(message, Frame | Event | Gap):
            if isinstance(message, Frame):
                self._dropped += message.dropped
            if (session := self._session(message.stream, _position(message), _newest(message))) is not None:
                _add(session, message)

    def poll(self) -> None:
        """Store what has come, where a second has passed."""
        now = self._timer()
        if now < self._next_commit:
            return
        self._next_commit = now + COMMIT_INTERVAL_S
        try:
            self._commit()
            self._delete_old(now)
        except (sqlite3.Error, OSError, StreamtagError) as error:
            self._retention = None
            self._file.close()
            self._report_problem(error)

    def close(self) -> None:
        """Store the rest, and report what could not be stored."""
        if self._is_closed:
            return
        self._is_closed = True
        for session in self._live.values():
            session.end()
        self._live.clear()
        problem = None
        for _ in range(CLOSING_ATTEMPTS):
            try:
                self._commit()
                break
            except (sqlite3.Error, OSError, StreamtagError) as error:
                problem = error
        if self._waiting and problem is not None:
            self._unstored += len(self._waiting)
            self._report_problem(problem)
        self._file.close()
        if self._unstored:
            self._report(f"{self._label}: {plural(self._unstored, 'row')} could not be stored")
        if self._dropped:
            self._report(f"{self._label}: {plural(self._dropped, 'frame')} did not come in time to be stored")

    def _set_model(self, model: ModelInfo) -> None:
        if model != self._model:
            self._model = model
            for session in self._live.values():
                session.end()
            self._live.clear()

    def _session(self, stream: str, position_s: float, newest_s: float, start_s: float | None = None) -> Session | None:
        """Return the session that goes on at the position; None before the first hello, and for what is no position.

        newest_s: the position that sounds now. start_s: where a new session starts, if not at the position.
        """
        if self._model is None or not (-1 <= position_s < MAX_POSITION_S and abs(newest_s) < MAX_POSITION_S):
            return None
        now, session = self._clock(), self._live.get(stream)
        if session is not None and position_s < session.last_s - RESTART_S:
            session.end()
            session = None
        if session is None:
            source = self._sources.get(stream) or self._source_of(stream) or ""
            start_s = max(0.0, position_s if start_s is None else start_s)
            session = Session(stream, source, self._model, now - newest_s, start_s, self._keep)
            self._live[stream] = session
        elif now - session.at(max(newest_s, session.end_s)) > MAX_LAG_S:
            session = self._live[stream] = session.resume(now - newest_s, position_s)
        return session

    def _add_past(self, history: History) -> None:
        """Add what a server sends before the first frame of a connection, as far as it is new."""
        times, name = history.times, history.stream
        if not times or (session := self._session(name, times[-1], times[-1], times[0])) is None:
            return
        known_s = session.last_s if session.frames else -1.0
        if times[0] > known_s:
            session.seen_from_s = times[0]
        count, labels = len(history.tags), (*history.tags, *history.concepts)
        frames = []
        for at, *row in zip(times, *history.tags.values(), *history.concepts.values(), strict=True):
            values = list(zip(labels, row, strict=True))
            frames.append(Frame(name, -1, at, at, dict(values[:count]), concepts=dict(values[count:])))
        past: Iterator[Frame | Event | Gap] = merge(frames, history.gaps, history.events, key=_position)
        for message in past:
            if _position(message) > known_s:
                _add(session, message)
        for concept in {*session.present} ^ {*history.present}:
            session.switch(concept, concept in history.present, max(known_s, times[0]))

    def _keep(self, row: Row) -> None:
        if len(self._waiting) >= self._max_waiting:
            self._waiting.popleft()
            self._unstored += 1
        self._waiting.append(row)

    def _commit(self) -> None:
        live = list(self._live.values())
        if not self._waiting and not any(session.is_changed for session in live):
            return
        self._file.store(live, self._waiting)
        self._waiting.clear()
        for session in live:
            session.is_changed = False
        if self._problem is not None:
            self._problem = None
            self._report(f"{self._label}: can be written again")

    def _delete_old(self, now: float) -> None:
        if self._keep_days is None:
            return
        if self._retention is None and now >= self._next_retention:
            self._next_retention = now + RETENTION_INTERVAL_S
            connection = self._file.connect(self._live.values(), self._waiting)
            self._retention = delete_before(connection, self._clock() - self._keep_days * DAY_S)
        if self._retention is not None and next(self._retention, self) is self:  # one step
            self._retention = None

    def _report_problem(self, error: Exception) -> None:
        text = f"{self._label}: cannot be written: {one_line(error)}; what is heard waits in memory"
        if isinstance(error, StreamtagError):
            text = f"{one_line(error)}; what is heard waits in memory"
        if self._problem is None:
            self._report(text)
        self._problem = text


def _add(session: Session, message: Frame | Event | Gap) -> None:
    if isinstance(message, Frame):
        session.add_frame(message, _position(message))
    elif isinstance(message, Event):
        session.add_event(message)
    else:
        session.add_gap(message)


def _position(message: Frame | Event | Gap) -> float:
    """Return where a message belongs in its stream [s]: the centre of a frame's window."""
    if isinstance(message, Frame):
        return (message.start + message.end) / 2
    return message.time if isinstance(message, Event) else message.start


def _newest(message: Frame | Event | Gap) -> float:
    """Return the position that sounds when the message comes [s]."""
    if isinstance(message, Frame):
        return message.end if message.latency_s is None else _position(message) + message.latency_s
    return message.time if isinstance(message, Event) else message.start + message.lost_s
