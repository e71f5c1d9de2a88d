"""A web address that plays without end, or any container on standard input."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from streamtag.audio.backoff import FIRST_S, next_delay
from streamtag.audio.files import Address
from streamtag.audio.prefetch import PrefetchReader
from streamtag.audio.resample import SAMPLE_RATE, AudioTap, CaptureResampler
from streamtag.audio.ring import Block
from streamtag.audio.source import AudioChunk, CaptureEvent, Closing, SourceNotice
from streamtag.errors import SourceError
from streamtag.text import plural

PIECE_S = 1.0  # s; most that one piece holds
STEADY_S = 10.0  # s of sound after which a connection counts as good
NEAR_S = 1.0  # s; so close to the length that was announced, a sound has come to its end

_NOTHING = np.zeros(0, np.float32)


class UrlStream(Closing):
    """A Capture. An address that breaks off or ends is opened again, for ever, once it has worked.

    It ends where standard input does, and where an address does that told its length and kept to it.
    tap: gets mono at 16 kHz, as it is decoded.
    """

    def __init__(self, where: str, tap: AudioTap | None = None) -> None:
        """where: an http(s) address, or "-". Raises SourceError if it is neither; what is wrong with it, `take`."""
        self._address = Address.of(where)
        if self._address.kind == "file":
            raise SourceError(f"{self._address.label}: not an address: `streamtag file` reads files")
        self._where = where
        self._pieces: deque[CaptureEvent] = deque()
        self._intake = CaptureResampler(SAMPLE_RATE, self._pieces, tap)
        self._reader: PrefetchReader | None = PrefetchReader(where)
        self._worked_s = 0.0  # of sound from this connection
        self._last_s: float | None = None  # when the newest sound came; None if none ever did
        self._pause_s = FIRST_S
        self._again_s = 0.0  # when to connect again, on time.monotonic()
        self._gone = False  # that it broke off was told, and not yet that it is back
        self._xruns = 0
        self._ended = False
        self._about = self._address.label

    @property
    def name(self) -> str:
        return self._address.name

    @property
    def description(self) -> str:
        return self._about

    @property
    def xruns(self) -> int:
        return self._xruns

    @property
    def latency_s(self) -> float:
        return 0.0

    def read(self, timeout_s: float) -> CaptureEvent | None:
        """Raises SourceError if it cannot be opened the first time, or standard input breaks off."""
        until = time.monotonic() + timeout_s
        while not self._pieces:
            if self._ended:
                return None
            if self._reader is None:
                self._reopen(until)
            else:
                self._look(self._reader, until)
            if not self._pieces and not self._ended and time.monotonic() >= until:
                return AudioChunk(_NOTHING, time.monotonic())
        return self._pieces.popleft()

    def close(self) -> None:
        self._ended = True
        if self._reader is not None:
            self._reader.close()

    def _reopen(self, until: float) -> None:
        """Waits for its time, but no longer than `until`."""
        now = time.monotonic()
        if now < self._again_s:
            time.sleep(max(0.0, min(self._again_s, until) - now))
        if time.monotonic() >= self._again_s:
            self._reader, self._worked_s = PrefetchReader(self._where), 0.0

    def _look(self, reader: PrefetchReader, until: float) -> None:
        try:
            samples = reader.read(round(PIECE_S * SAMPLE_RATE))
        except SourceError as error:
            if self._last_s is None or self._address.kind == "pipe":
                self._ended = True
                raise
            self._leave(reader, str(error))
            return
        if samples is None:
            self._over(reader)
        elif len(samples):
            self._heard(reader, samples)
        elif self._pieces or time.monotonic() < until:
            return

    def _heard(self, reader: PrefetchReader, samples: np.ndarray) -> None:
        now, seconds = time.monotonic(), len(samples) / SAMPLE_RATE
        if not self._worked_s and reader.info is not None:
            info = reader.info
            of = plural(info.channels, "channel")
            self._about = f"{self._address.label}, {info.codec}, {info.sample_rate} Hz, {of}"
        if self._gone:
            self._bridge(now)
        self._worked_s += seconds
        self._last_s = now
        if self._worked_s >= STEADY_S:
            self._pause_s = FIRST_S
        self._intake.take(Block(samples[:, np.newaxis], now))

    def _bridge(self, now: float) -> None:
        """What it played while nobody was connected is lost, by the clock."""
        lost_s = 0.0 if self._last_s is None else now - self._last_s
        if round(lost_s * SAMPLE_RATE):
            self._intake.lose(round(lost_s * SAMPLE_RATE))
        self._gone = False
        self._pieces.append(SourceNotice(f"{self._address.label}: connected again", is_problem=False))

    def _over(self, reader: PrefetchReader) -> None:
        """The source says that there is no more."""
        length = None if reader.info is None else reader.info.duration_s
        if self._address.kind == "pipe" or (length is not None and self._worked_s >= length - NEAR_S):
            self._ended = True
            self._intake.flush()
            for warning in reader.warnings:
                self._pieces.append(SourceNotice(f"{self._address.label}: {warning}", is_problem=False))
            return
        self._leave(reader, f"{self._address.label}: ended")

    def _leave(self, reader: PrefetchReader, reason: str) -> None:
        reader.close()
        self._reader = None
        self._again_s = time.monotonic() + self._pause_s
        self._pause_s = next_delay(self._pause_s)
        if not self._gone:
            self._gone = True
            self._xruns += 1
            self._pieces.append(SourceNotice(f"{reason}; connecting again"))
