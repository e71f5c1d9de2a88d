"""A URL that plays endlessly (http, https, rtsp, rtsps, srt, rtmp), or any container on standard input."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.decoder import Source, open_source
from streamtag.audio.files import Address
from streamtag.audio.prefetch import PrefetchReader
from streamtag.audio.reconnecting import ReconnectingSource
from streamtag.audio.resample import SAMPLE_RATE, AudioTap, CaptureResampler
from streamtag.audio.ring import Block
from streamtag.audio.source import CaptureEvent, SourceNotice
from streamtag.audio.threaded import Wait
from streamtag.errors import SourceError
from streamtag.text import plural

MAX_CHUNK_S = 1.0  # of audio in one event
STEADY_S = 10.0  # of audio after which a connection counts as good
MAX_MISSING_S = 1.0  # so close to the length that was announced, a sound is complete


class UrlStream(ReconnectingSource[PrefetchReader]):
    """An address that breaks off or ends is opened again, for ever, once it has worked: always, if it
    is persistent.

    It ends where standard input does, and where an address does that announced its length and kept to it.
    """

    def __init__(
        self,
        where: str,
        tap: AudioTap | None = None,
        *,
        is_persistent: bool = False,
        wait: Wait = threading.Event.wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """where: a URL, or "-". tap: gets mono at 16 kHz. wait: before it is opened again. clock: seconds.

        Raises SourceError if `where` is neither; `read` raises it if it cannot be opened the first time and is not
        persistent.
        """
        self._is_persistent, self._clock = is_persistent, clock
        self._address = Address.of(where, allow_live=True)
        if self._address.kind == "file":
            raise SourceError(f"{self._address.label}: not an address: `streamtag file` reads files")
        self._resampler = CaptureResampler(SAMPLE_RATE, tap)
        self._connection_s = 0.0  # of audio from this connection
        super().__init__(self._address.name, self._address.label, PrefetchReader(where, _open_live), wait=wait)

    def _connect(self) -> PrefetchReader:
        source = _open_live(self._address.where)
        return PrefetchReader(self._address.where, lambda _: source)

    def _connected(self, connection: PrefetchReader) -> None:  # noqa: ARG002
        self._connection_s = 0.0

    def _receive(self, connection: PrefetchReader, timeout_s: float) -> list[CaptureEvent]:
        try:
            samples = connection.read(round(MAX_CHUNK_S * SAMPLE_RATE), timeout_s)
        except SourceError as error:
            if self._address.kind == "pipe" or (self._newest is None and not self._is_persistent):
                self._has_ended = True
                raise
            return self._leave(connection, str(error))
        if samples is None:
            return self._end(connection)
        return self._events(connection, samples) if len(samples) else []

    def _events(self, connection: PrefetchReader, samples: NDArray[np.float32]) -> list[CaptureEvent]:
        """The next samples [n], n > 0, and before them what happened."""
        now = self._clock()
        events: list[CaptureEvent] = []
        if not self._connection_s and (info := connection.info) is not None:
            channels = plural(info.channels, "channel")
            self.description = f"{self._address.label}, {info.codec}, {info.sample_rate} Hz, {channels}"
        if self._is_lost:  # what it played meanwhile is lost, by the clock
            lost = 0 if self._newest is None else round((now - self._newest) * SAMPLE_RATE)
            if lost > 0:
                events += self._resampler.insert_gap(lost)
            events.append(self._recover(f"{self._address.label}: connected again"))
        self._connection_s += len(samples) / SAMPLE_RATE
        self._newest = now
        if self._connection_s >= STEADY_S:
            self._reset_delay()
        return events + self._resampler.feed(Block(samples[:, np.newaxis], now))

    def _end(self, connection: PrefetchReader) -> list[CaptureEvent]:
        """The source says that there is no more."""
        length = None if connection.info is None else connection.info.duration_s
        is_complete = length is not None and self._connection_s >= length - MAX_MISSING_S
        if self._address.kind != "pipe" and not is_complete:
            return self._leave(connection, f"{self._address.label}: ended")
        self._has_ended = True
        warnings = [f"{self._address.label}: {warning}" for warning in connection.warnings]
        return [*self._resampler.flush(), *(SourceNotice(text, is_problem=False) for text in warnings)]

    def _leave(self, connection: PrefetchReader, reason: str) -> list[CaptureEvent]:
        connection.close()
        return self._reconnect(f"{reason}; connecting again")


def _open_live(where: str) -> Source:
    return open_source(where, allow_live=True)
