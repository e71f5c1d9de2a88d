"""Where a producer's bytes come in and a worker takes them: the only place that both touch."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.pcm_format import PcmFormat
from streamtag.scheduler.pcm_queue import FormatChange, Item, MissingAudio, PcmQueue, Sound
from streamtag.scheduler.realtime import RealtimeDetector

MOST_BYTES = 8 << 20  # that may wait of one stream, however long its sound is: 0.7 s of the largest format
MESSAGE = 1 << 20  # bytes; the most that comes at once, over a socket
DISOBEDIENT = 2  # times as much as may wait, and a message: so far comes only a producer that does not wait if asked


class IngestBuffer:
    """Bytes go in cut anywhere, whole samples come out. Any thread may use it: its lock is held for microseconds.

    It also knows whether somebody has to come: it is either armed, and fires when enough waits in it or it is rung;
    or it has fired, and a worker is on its way or there, until `rest` arms it again. So a stream is queued only once.
    It has fired when it is new.
    """

    def __init__(self, format: PcmFormat, spec: SchedulerConfig, now: float, position: int = 0) -> None:
        """position: the producer's own count of the sample that comes first."""
        self._lock = Lock()
        self._spec = spec
        self._format = format
        self._limit = self._room_for(format)
        self._pace = RealtimeDetector(spec.max_lead_s, spec.buffer_s, now)
        self._backlog = PcmQueue(position)
        self._part = b""  # of a sample whose other bytes have not come
        self._position = position
        self._overlap = 0  # samples that come again
        self._armed: int | None = None  # samples on which it fires; None: it has fired
        self._rung = False
        self._full = False
        self._ended = False

    @property
    def format(self) -> PcmFormat:
        """Of what comes now."""
        return self._format

    @property
    def live(self) -> bool:
        """It comes no faster than time goes."""
        return self._pace.live

    @property
    def position(self) -> int:
        """The producer's own count of the sample that comes next."""
        return self._position

    @property
    def taken(self) -> int:
        """And of the one that is taken next: of the worker only."""
        return self._backlog.taken

    @property
    def over(self) -> bool:
        """Nothing more comes, and nothing waits."""
        return self._ended and not self._backlog

    @property
    def ended(self) -> bool:
        """Nothing more comes."""
        return self._ended

    @property
    def waiting_s(self) -> float:
        """Sound that waits, s."""
        return self._backlog.samples / self._format.rate

    def push(self, data: bytes, now: float) -> tuple[bool, bool]:
        """-> whether there is room for more, and whether it fired."""
        with self._lock:
            if self._ended:
                return True, False
            if self._backlog.bytes > DISOBEDIENT * self._limit + MESSAGE:
                self._backlog.throw_away(self._limit)
            elif self._backlog.bytes >= self._limit and self._late(now):
                self._backlog.throw_away(round(self._limit * self._spec.shed_after_s / self._spec.buffer_s))
            size = self._format.sample_bytes
            if self._part:
                data = self._part + data
            count = len(data) // size
            whole: bytes | memoryview = data
            if len(data) > count * size:
                self._part, whole = bytes(data[count * size :]), data[: count * size]
            else:
                self._part = b""
            self._position += count
            self._pace.pushed(count / self._format.rate, now)
            if again := min(count, self._overlap):
                self._overlap -= again
                count, whole = count - again, whole[again * size :]
            if count:
                self._backlog.add(Sound(whole, count, self._format, now, now))
            if self._backlog.bytes >= self._limit and not self._late(now):
                self._full = True
                self._pace.wait()
            return not self._full, self._fires()

    def come_back(self, format: PcmFormat, position: int | None, gone_s: float, now: float) -> bool:
        """Another connection goes on with the stream -> whether it fired.

        position: the producer's own count of the sample that comes first; None: it has none, and the sound of the
        time that it was gone is missing.
        """
        with self._lock:
            expected = self._position + self._overlap
            if format != self._format:
                turn = FormatChange(self._format, format)
                expected = turn.place(expected)
                self._backlog.add(turn)
                self._format, self._limit = format, self._room_for(format)
            self._position = expected + round(gone_s * format.rate) if position is None else position
            if self._position > expected:
                self._backlog.add(MissingAudio(self._position - expected))
            self._part, self._overlap = b"", max(0, expected - self._position)
            self._pace = RealtimeDetector(self._spec.max_lead_s, self._spec.buffer_s, now, gone_s)
            self._full = False
            return self._fires()

    def ring(self) -> bool:
        """Somebody has to come, whatever waits -> whether it fired."""
        with self._lock:
            self._rung = True
            return self._fires()

    def end(self) -> bool:
        """Nothing more comes -> whether it fired."""
        with self._lock:
            self._ended = True
            return self._fires()

    # --- of the worker that has the stream -------------------------------------------------------------------------

    def take(self, samples: int) -> Item | None:
        """Up to so many samples of sound, or what else comes next; None if nothing waits."""
        with self._lock:
            return self._backlog.take(samples)

    def shed(self, than: float, whole: Callable[[int], int]) -> int:
        """Throws sound away that arrived before a time -> so many samples. whole(most): how many of so many."""
        with self._lock:
            count = whole(self._backlog.older(than))
            if count:
                self._backlog.take(count)
            return count

    def rest(self, samples: int, now: float) -> float | None:
        """Armed: it fires when so many samples wait -> None. Or it is not, since there is something to do already
        -> since when."""
        with self._lock:
            arrival = self._backlog.arrival(samples)
            if self._rung or self._ended or self._full or self._backlog.special or arrival is not None:
                self._rung = False
                return now if arrival is None else arrival
            self._armed = samples
            return None

    def relax(self, now: float) -> bool:
        """-> whether the producer was asked to wait, and there is room again."""
        with self._lock:
            if not self._full or self._backlog.bytes > self._limit // 2:
                return False
            self._full = False
            self._pace.go_on(now)
            return True

    def _fires(self) -> bool:
        if self._armed is None:
            return False
        enough = self._backlog.special or self._backlog.samples >= self._armed
        if self._rung or self._ended or self._full or enough:
            self._armed, self._rung = None, False
            return True
        return False

    def _late(self, now: float) -> bool:
        """It is live, and waits for want of a worker: its producer cannot wait, and would only come later still."""
        oldest = self._backlog.oldest
        return self._pace.live and oldest is not None and now - oldest > self._spec.shed_after_s

    def _room_for(self, format: PcmFormat) -> int:
        """Bytes."""
        return min(MOST_BYTES, round(self._spec.buffer_s * format.rate) * format.sample_bytes)
