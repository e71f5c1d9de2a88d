"""GET /api/history: what was heard in a range of time, as JSON, from the file of --history."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.http11 import Response

from streamtag.errors import SourceError, SpecError
from streamtag.history.bins import DayHistory, StreamBins, TimeBins, read_bins
from streamtag.server.auth import HttpError
from streamtag.server.query import RequestTarget
from streamtag.server.routes import respond
from streamtag.text import printable

PARAMETERS = ("stream", "from", "to", "resolution")
DEFAULT_RANGE_S, DEFAULT_BINS = 86400.0, 288
MAX_QUERIES = 2  # at the same time
QUERY_TIMEOUT_S = 5.0
RETRY_AFTER_S = 1
DECIMALS = 3  # of times [s]


class HistoryRoute:
    """Answers from a history that may not be there yet. Belongs to the event loop; threads read the file."""

    def __init__(self, path: Path, query_timeout_s: float = QUERY_TIMEOUT_S) -> None:
        self._path, self._query_timeout_s = path, query_timeout_s
        self._running = 0
        self._is_closing = threading.Event()

    def close(self) -> None:
        """Stop what is being read."""
        self._is_closing.set()

    async def answer(self, target: RequestTarget) -> Response:
        """Raises SpecError, and HttpError where there is no time or no way to read the history."""
        now = time.time()
        stream, bins = _parse(target, now)
        if self._running >= MAX_QUERIES:
            raise _unavailable("others are reading the history already")
        self._running += 1
        try:
            body = await asyncio.to_thread(self._read, stream, bins, now)
        finally:
            self._running -= 1
        return respond(HTTPStatus.OK, body, "application/json")

    def _read(self, stream: str | None, bins: TimeBins, now: float) -> str:
        deadline = time.monotonic() + self._query_timeout_s

        def should_stop() -> bool:
            return self._is_closing.is_set() or time.monotonic() > deadline

        if not self._path.exists():  # nothing was recorded yet
            return _to_json(DayHistory(bins, None, None, (), 0), now)
        try:
            history = read_bins(self._path, bins, None if stream is None else [stream], should_stop)
        except SourceError as error:
            if should_stop():
                raise _unavailable("reading takes too long: ask for less time, or for one stream") from None
            place = f"{printable(str(self._path))}: "  # is nobody's business
            raise _unavailable(f"the history cannot be read: {str(error).removeprefix(place)}") from None
        return _to_json(history, now)


def _parse(target: RequestTarget, now: float) -> tuple[str | None, TimeBins]:
    target.check_parameters(PARAMETERS)

    def number(name: str, default: float) -> float:
        text = target.parameters.get(name)
        try:
            return default if text is None else float(text)
        except ValueError:
            raise SpecError(f"{name} is a number of seconds") from None

    to_at = number("to", now)
    from_at = number("from", to_at - DEFAULT_RANGE_S)
    resolution_s = number("resolution", max(1.0, (to_at - from_at) / DEFAULT_BINS))
    return target.parameters.get("stream"), TimeBins(from_at, to_at, resolution_s)


def _unavailable(text: str) -> HttpError:
    return HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "history", text, [("Retry-After", str(RETRY_AFTER_S))])


def _to_json(history: DayHistory, now: float) -> str:
    bins = history.bins
    extent = {"first_at": history.first_at, "last_at": history.last_at}
    times = {"from": bins.from_at, "to": bins.end_at, "now": now, **extent}
    rounded = {name: None if at is None else round(at, DECIMALS) for name, at in times.items()}
    streams = [_stream(stream) for stream in history.streams]
    answer = {**rounded, "resolution": bins.resolution_s, "left_out": history.left_out, "streams": streams}
    return json.dumps(answer, separators=(",", ":")) + "\n"


def _stream(stream: StreamBins) -> dict[str, Any]:
    return {
        "stream": stream.stream,
        "first_at": round(stream.first_at, DECIMALS),
        "last_at": round(stream.last_at, DECIMALS),
        "heard": _percent(stream.heard),
        "gap_count": stream.gap_count,
        "lost_s": round(stream.lost_s, DECIMALS),
        "gaps": [[round(at, DECIMALS), round(lost_s, DECIMALS)] for at, lost_s in stream.gaps],
        "concepts": [
            {
                "concept": concept.concept,
                "category": concept.category,
                "seconds": round(concept.seconds, DECIMALS),
                "present": _percent(concept.present),
            }
            for concept in stream.concepts
        ],
    }


def _percent(fractions: NDArray[np.float64]) -> list[int]:
    """Return fractions of 0 to 1 as 0 to 100; what is more than nothing is at least 1."""
    percent: list[int] = np.ceil(100 * fractions - 1e-6).astype(int).tolist()
    return percent
