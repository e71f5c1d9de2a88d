"""The part of a stream that its producer and its worker share: audio that waits, and whether the stream is ready."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from threading import Lock

from streamtag.audio.pcm import PcmDecoder, PcmFormat
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.pcm_queue import ContextReset, FormatChange, MissingAudio, PcmBlock, PcmQueue, QueueItem

MAX_BYTES = 8 << 20  # that may wait of one stream, however short its audio is then: 0.7 s of the largest format
MAX_MESSAGE_BYTES = 1 << 20  # that arrive at once over a socket
HARD_LIMIT_FACTOR = 2  # times the limit, plus one message: only a producer that ignores requests to pause gets there
MAX_LIVE_SPEED = 1.1  # audio seconds per second; no sound card's clock is faster


class RunState(Enum):
    """What a stream does: wait for audio, wait for a worker, be processed by one, or nothing any more."""

    IDLE = "idle"
    READY = "ready"
    RUNNING = "running"
    ENDED = "ended"


class IngestBuffer:
    """Accept bytes cut anywhere and return whole samples. Any thread may use it.

    Its lock guards the queue and the change from IDLE to READY, and is held for microseconds. All other changes of
    `state` are made by the owner of the stream: a worker, or the scheduler. A new buffer is RUNNING.

    format: of the bytes that arrive now. position: the producer's count of the sample that arrives next. input_ended:
    nothing more arrives.
    """

    def __init__(
        self,
        format: PcmFormat,
        config: SchedulerConfig,
        now: float,
        position: int = 0,
        on_ready: Callable[[float], None] | None = None,
    ) -> None:
        """position: the producer's count of the first sample. on_ready: called with the time, and without the lock,
        when the stream changes from IDLE to READY."""
        self.state = RunState.RUNNING
        self._lock = Lock()
        self._config = config
        self._on_ready = on_ready
        self.format = format
        self._max_bytes = self._byte_limit(format)
        self._realtime = RealtimeDetector(config.max_lead_s, config.buffer_s, now)
        self._queue = PcmQueue(position)
        self._decoder = PcmDecoder(format)
        self.position = position
        self._overlap = 0  # samples that the producer sends again
        self._needed = 0  # samples that make an idle stream ready
        self._is_requested = False
        self._is_paused = False
        self.input_ended = False

    @property
    def is_live(self) -> bool:
        """The producer is not faster than the clock."""
        return self._realtime.is_live

    @property
    def read_position(self) -> int:
        """The producer's count of the sample that is read next. Only for the worker."""
        return self._queue.position

    @property
    def is_exhausted(self) -> bool:
        """Nothing more arrives, and nothing waits."""
        return self.input_ended and not self._queue

    @property
    def waiting_s(self) -> float:
        """Audio that waits, in seconds."""
        return self._queue.samples / self.format.rate

    def push(self, data: bytes, now: float, recorded: float | None = None) -> bool:
        """Append bytes and return True, or False if the producer should pause until there is room.

        recorded: when the last of them was recorded; None: now."""
        with self._changing(now):
            if self.input_ended or self.state is RunState.ENDED:
                return True
            if self._queue.bytes > HARD_LIMIT_FACTOR * self._max_bytes + MAX_MESSAGE_BYTES:
                self._queue.drop_oldest(self._max_bytes)
            elif self._queue.bytes >= self._max_bytes and self._is_overdue(now):
                self._queue.drop_oldest(round(self._max_bytes * self._config.shed_after_s / self._config.buffer_s))
            self._append(data, now, now if recorded is None else recorded)
            if self._queue.bytes >= self._max_bytes and not self._is_overdue(now):
                self._is_paused = True
                self._realtime.pause()
            return not self._is_paused

    def skip(self, samples: int, now: float) -> None:
        """Append a gap: this many samples, more than 0, never arrive."""
        with self._changing(now):
            self.position += samples
            repeated = min(samples, self._overlap)
            self._overlap -= repeated
            if samples > repeated:
                self._queue.append(MissingAudio(samples - repeated))
            self._decoder = PcmDecoder(self.format)  # what was pending belongs to the gap

    def reset_context(self, now: float) -> None:
        """Append a reset of the network's context."""
        with self._changing(now):
            self._queue.append(ContextReset())

    def resume(self, format: PcmFormat, position: int | None, gone_s: float, now: float) -> None:
        """Continue the stream from another connection, which was missing for gone_s seconds.

        position: the producer's count of its first sample; None: it does not count, and audio of the time that it was
        missing is lost.
        """
        with self._changing(now):
            expected = self.position + self._overlap
            if format != self.format:
                change = FormatChange(self.format, format)
                expected = change.convert(expected)
                self._queue.append(change)
                self.format, self._max_bytes = format, self._byte_limit(format)
            self.position = expected + round(gone_s * format.rate) if position is None else position
            if self.position > expected:
                self._queue.append(MissingAudio(self.position - expected))
            self._decoder, self._overlap = PcmDecoder(format), max(0, expected - self.position)
            self._realtime = RealtimeDetector(self._config.max_lead_s, self._config.buffer_s, now, gone_s)
            self._is_paused = False

    def request_worker(self, now: float) -> None:
        """Make the stream ready, whatever waits."""
        with self._changing(now):
            self._is_requested = True

    def end_input(self, now: float) -> None:
        """Accept nothing more."""
        with self._changing(now):
            self.input_ended = True

    @contextmanager
    def _changing(self, now: float) -> Iterator[None]:
        """Hold the lock, and afterwards report if the stream has become ready."""
        with self._lock:
            yield
            on_ready = self._on_ready if self._wake() else None
        if on_ready is not None:
            on_ready(now)

    # --- for the worker that has the stream ----------------------------------------------------------------------

    def read(self, samples: int) -> QueueItem | None:
        """Return at most so many samples, or what else comes next, or None if nothing waits."""
        with self._lock:
            return self._queue.read(samples)

    def remove_older_than(self, time: float, whole: Callable[[int], int]) -> int:
        """Remove audio that arrived before a time, as much of it as `whole` allows, and return how many samples."""
        with self._lock:
            count = whole(self._queue.count_older_than(time))
            if count:
                self._queue.read(count)
            return count

    def release(self, samples: int, now: float) -> float | None:
        """Make the stream idle until so many samples wait, and return None. If they do already, or there is other
        work, make it ready and return since when."""
        with self._lock:
            if self.state is RunState.ENDED:
                return None
            arrival = self._queue.arrival_of(samples) if samples else now
            has_work = self._is_requested or self.input_ended or self._is_paused or self._queue.markers
            if arrival is None and not has_work:
                self._needed, self.state = samples, RunState.IDLE
                return None
            self._is_requested, self.state = False, RunState.READY
            return now if arrival is None else arrival

    def resume_if_drained(self, now: float) -> bool:
        """Return whether the producer was asked to pause and may continue now."""
        with self._lock:
            if not self._is_paused or self._queue.bytes > self._max_bytes // 2:
                return False
            self._is_paused = False
            self._realtime.resume(now)
            return True

    def finish(self) -> None:
        """End the stream for good."""
        with self._lock:
            self.state, self._on_ready = RunState.ENDED, None

    # --- with the lock held --------------------------------------------------------------------------------------

    def _append(self, data: bytes, now: float, recorded: float) -> None:
        size = self.format.sample_bytes
        whole = self._decoder.align(data)
        count = len(whole) // size
        self.position += count
        self._realtime.add(count / self.format.rate, now)
        if repeated := min(count, self._overlap):
            self._overlap -= repeated
            count, whole = count - repeated, whole[repeated * size :]
        if count:
            self._queue.append(PcmBlock(whole, count, self.format, now, recorded))

    def _wake(self) -> bool:
        if self.state is not RunState.IDLE:
            return False
        has_enough = self._queue.markers or self._queue.samples >= self._needed
        if not (has_enough or self._is_requested or self.input_ended or self._is_paused):
            return False
        self._is_requested, self.state = False, RunState.READY
        return True

    def _is_overdue(self, now: float) -> bool:
        """It is live and waits for a worker: its producer cannot wait, or would only be later still."""
        oldest = self._queue.oldest_arrival
        return self.is_live and oldest is not None and now - oldest > self._config.shed_after_s

    def _byte_limit(self, format: PcmFormat) -> int:
        return min(MAX_BYTES, round(self._config.buffer_s * format.rate) * format.sample_bytes)


class RealtimeDetector:
    """Decide whether a producer is live, by how far it is ahead of the clock: one that is faster is a file.

    Time during which it was asked to pause does not count. After an interruption a live producer sends at once what it
    has recorded: it may catch up `slack_s`. One that was too fast is live again after a while at the clock's speed.
    """

    def __init__(self, max_lead_s: float, slack_s: float, now: float, behind_s: float = 0.0) -> None:
        """max_lead_s: lead of a live producer, at most. behind_s: what it may catch up now."""
        self._max_lead_s, self._slack_s = max_lead_s, slack_s
        self._lead_s = -min(behind_s, slack_s)
        self._time = now
        self._is_paused = False

    @property
    def is_live(self) -> bool:
        return self._lead_s <= self._max_lead_s

    def add(self, seconds: float, now: float) -> None:
        """Count audio that has arrived."""
        if not self._is_paused:
            self._lead_s = max(-self._slack_s, self._lead_s - MAX_LIVE_SPEED * max(0.0, now - self._time))
        self._time = now
        self._lead_s = min(2 * self._max_lead_s, self._lead_s + seconds)

    def pause(self) -> None:
        """The producer is asked to pause from now on."""
        self._is_paused = True

    def resume(self, now: float) -> None:
        """The producer may continue."""
        if self._is_paused:
            self._is_paused, self._time = False, now
