"""A history of streams that nobody listened to: songs, gaps and sessions drawn at random from a seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

import streamtag
from streamtag.history.schema import open_for_writing

END_AT = 1_795_804_800.0  # 2026-11-27 20:00 UTC
DAY_S, HOP_S = 86_400, 0.256
SONG_S, PAUSE_S, SESSION_DAYS, LOST_S = (120.0, 300.0), (300.0, 5400.0), (1.5, 4.0), (0.3, 2.5)  # from, to
GAPS_PER_DAY = 6
CONCEPTS_PER_SONG = 5  # each is on once in either half of the song with the probability
HALF_IS_ON = 0.6
WEIGHTS = Path(streamtag.__file__).parent / "weights" / "streamtag.safetensors"
PRESENCE = [("session", int), ("concept", int), ("on_ms", int), ("off_ms", float), ("peak", int), ("mean", int)]


@dataclass(frozen=True)
class Session:
    """number: its row. at: where it began and its stream time is 0, as Unix time."""

    number: int
    at: float
    seconds: float
    has_ended: bool


def write_sample(
    path: Path, days: float, streams: Sequence[str], *, end_at: float = END_AT, seed: int = 0, running: bool = True
) -> None:
    """Write a history of these streams for so many days before end_at [Unix time].

    running: the last session of every stream has not ended. The first session of the first stream was killed.
    """
    random = np.random.default_rng(seed)
    with closing(open_for_writing(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        thresholds = _write_model(connection)
        audible = np.flatnonzero(~np.isnan(thresholds))
        presences: list[NDArray[Any]] = []
        times: list[NDArray[np.float64]] = []
        for number, name in enumerate(streams, 1):
            connection.execute("INSERT INTO stream VALUES (?, ?)", (number, name))
            for session in _write_sessions(connection, random, number, end_at - days * DAY_S, end_at, running):
                presences.append(_draw_presences(random, session, audible))
                times.append(session.at + presences[-1]["on_ms"] / 1000)
                _write_gaps(connection, random, session)
        rows = np.concatenate(presences)[np.argsort(np.concatenate(times), kind="stable")]  # as a recorder writes them
        insert = "INSERT INTO presence (session_id, concept_id, on_ms, off_ms, peak, mean)"
        connection.executemany(f"{insert} VALUES (?, ?, ?, ?, ?, ?)", rows.tolist())  # SQLite has no NaN but NULL
        connection.execute("COMMIT")


def _write_model(connection: Connection) -> NDArray[np.float64]:
    """Write the shipped model and its concepts. Return the threshold of each concept, or NaN."""
    with safe_open(str(WEIGHTS), "numpy") as file:
        tags, concepts, card = (json.loads(file.metadata()[name]) for name in ("tags", "concepts", "card"))
    concepts = [{name: each[name] for name in ("name", "category", "tags", "threshold")} for each in concepts]
    connection.execute(
        "INSERT INTO model VALUES (1, ?, '', ?, ?)", (card["name"], json.dumps(tags), json.dumps(concepts))
    )
    rows = [(number, each["name"], each["category"]) for number, each in enumerate(concepts, 1)]
    connection.executemany("INSERT INTO concept VALUES (?, ?, ?)", rows)
    return np.array([each["threshold"] for each in concepts], float)


def _write_sessions(
    connection: Connection, random: np.random.Generator, stream: int, start_at: float, end_at: float, running: bool
) -> list[Session]:
    sessions: list[Session] = []
    while start_at < end_at:
        start_at = round(start_at, 3)
        last_at = round(start_at + random.uniform(*SESSION_DAYS) * DAY_S, 3)
        is_last = last_at + PAUSE_S[1] >= end_at
        last_at = end_at if is_last else last_at
        has_ended = not running if is_last else bool(sessions) or stream > 1
        seconds = last_at - start_at
        values = (stream, f"http://radio.example/{stream}", start_at, last_at, seconds, int(seconds / HOP_S), has_ended)
        insert = (
            "INSERT INTO session (stream_id, model_id, source, start_at, last_at, start_s, last_s, frames, has_ended)"
        )
        number = connection.execute(f"{insert} VALUES (?, 1, ?, ?, ?, 0, ?, ?, ?)", values).lastrowid or 0
        sessions.append(Session(number, start_at, seconds, has_ended))
        start_at = last_at + random.uniform(*PAUSE_S)
    return sessions


def _draw_presences(random: np.random.Generator, session: Session, audible: NDArray[np.int64]) -> NDArray[Any]:
    """Return rows of PRESENCE. audible: columns of the concepts that can be on."""
    ends = np.cumsum(random.uniform(*SONG_S, int(session.seconds / SONG_S[0]) + 1))
    ends = np.append(ends[ends < session.seconds], session.seconds)
    starts = np.append(0.0, ends[:-1])
    halves = (ends - starts) / 2
    songs = audible[random.random((len(ends), len(audible))).argsort(axis=1)[:, :CONCEPTS_PER_SONG]]
    rows = []
    for begins in (starts, starts + halves):
        length = np.broadcast_to(halves[:, None], songs.shape)
        on_s = begins[:, None] + random.uniform(0, 0.4, songs.shape) * length
        off_s = on_s + random.uniform(0.1, 0.6, songs.shape) * length
        is_on = random.random(songs.shape) < HALF_IS_ON
        mean = random.uniform(0.3, 0.8, songs.shape)
        numbers = [np.rint(each) for each in (1000 * on_s, 1000 * off_s, 255 * mean + 38, 255 * mean)]
        columns = (np.full(songs.shape, session.number), songs + 1, *numbers)
        rows.append(np.rec.fromarrays([each[is_on] for each in columns], dtype=PRESENCE))
    result = np.concatenate(rows)
    if not session.has_ended and len(result):
        result["off_ms"][result["on_ms"].argmax()] = np.nan  # is still on
    return result


def _write_gaps(connection: Connection, random: np.random.Generator, session: Session) -> None:
    starts = np.sort(random.uniform(0, session.seconds, random.poisson(GAPS_PER_DAY * session.seconds / DAY_S)))
    lost = random.uniform(*LOST_S, len(starts))
    rows = np.stack([np.full(len(starts), session.number), np.rint(1000 * starts), np.rint(1000 * lost)], axis=1)
    connection.executemany("INSERT INTO gap (session_id, start_ms, lost_ms) VALUES (?, ?, ?)", rows.tolist())
