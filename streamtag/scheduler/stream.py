"""One stream of the scheduler, and what a worker does with its audio."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from streamtag.audio.pcm import PcmFormat
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.protocol.messages import Gap, Message
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.ingest_buffer import IngestBuffer, RunState
from streamtag.scheduler.ingest_resampler import IngestResampler
from streamtag.scheduler.pcm_queue import ContextReset, FormatChange, PcmBlock, QueueItem
from streamtag.scheduler.stats import StreamStats
from streamtag.spec import FrontEndSpec

if TYPE_CHECKING:
    from streamtag.inference.batch import PooledSession

SHED_GRACE_HOPS = 4  # that are processed first after some were shed; fewer would give no frame
HOP_SPACING_FRACTION = 0.25  # of a hop, by which a hop that arrived together with the one before is due later

OnWritable = Callable[[], None]
OnReady = Callable[["ScheduledStream", float], None]


class ScheduledStream:
    """A stream, its buffer, and its place in the pool.

    Any thread may use the buffer and append to state_requests. The scheduler's lock guards on_writable and
    disconnected_since. Everything else belongs to the worker that has the stream while its state is RUNNING.
    """

    def __init__(
        self,
        name: str,
        format: PcmFormat,
        config: SchedulerConfig,
        spec: FrontEndSpec,
        now: float,
        position: int = 0,
        on_ready: OnReady | None = None,
    ) -> None:
        """position: the producer's count of its first sample. on_ready: called with the stream and the time when it
        changes from IDLE to READY."""
        notify = None if on_ready is None else partial(on_ready, self)
        self.name = name
        self.buffer = IngestBuffer(format, config, now, position, notify)
        self.on_writable: OnWritable | None = None  # of the connection, if there is one
        self.disconnected_since: float | None = None
        self.state_requests: deque[Future[bytes]] = deque()
        self.ready_since = now  # when the next hop was complete
        self.lag_s = 0.0
        self.shed_s = 0.0
        self.row = -1  # of the event detector bank
        self.is_closed = False  # its `end` is published, or about to be
        self.session: PooledSession  # while has_session
        self.has_session = False
        self._resampler: IngestResampler | None = None
        self._config, self._spec = config, spec
        self._format = format  # of the first samples
        self._is_flushed = False
        self._last_ready = -inf  # ready_since of the hop before
        self._grace_hops = 0  # that are processed first and not shed
        self._start_time = now  # clock at stream time 0

    @property
    def has_ended(self) -> bool:
        return self.buffer.state is RunState.ENDED

    @property
    def resampler(self) -> IngestResampler:
        assert self._resampler is not None
        return self._resampler

    @property
    def is_urgent(self) -> bool:
        """Audio was shed just now: what is left is processed first, or shedding it would have been useless."""
        return self._grace_hops > 0

    @property
    def seconds(self) -> float:
        """Audio that the network was fed, lost audio included, in seconds."""
        return self._resampler.emitted / SAMPLE_RATE if self._resampler else 0.0

    @property
    def is_finished(self) -> bool:
        """The audio has ended, and all frames were given."""
        return self._is_flushed and self.session.is_finished

    @property
    def can_export(self) -> bool:
        """It is between two hops and continues."""
        return self.continues and not self.session.ready_hops

    @property
    def continues(self) -> bool:
        """More of its audio will be processed."""
        return self.has_session and not self._is_flushed

    @property
    def stats(self) -> StreamStats:
        is_disconnected = self.disconnected_since is not None
        waiting_s, is_live = self.buffer.waiting_s, self.buffer.is_live
        return StreamStats(self.name, self.seconds, self.lag_s, waiting_s, self.shed_s, is_live, is_disconnected)

    def begin(self, session: PooledSession, row: int, resampler: IngestResampler | None = None) -> None:
        """Take a place in the pool and the bank. resampler: of an imported stream; None: the stream is new."""
        self.session, self.has_session, self.row = session, True, row
        self._resampler = resampler or IngestResampler(self._format)

    def remove_session(self) -> None:
        """Give the place in the pool back."""
        self.session.remove()
        self.has_session = False

    def prepare(self, now: float, messages: list[Message]) -> float:
        """Feed the session until it has a hop ready or nothing waits. Append gaps to `messages` and return how many
        seconds of audio were shed."""
        session = self.session
        if session.ready_hops:
            self._mark_ready(self.ready_since)
        if self._is_flushed:
            return 0.0
        shed_before = self.shed_s
        due = max(self.ready_since, self._last_ready + self._spec.hop_s * HOP_SPACING_FRACTION)
        if now - due > self._config.shed_after_s and self.buffer.is_live and not self.is_urgent:
            self._shed(now, messages)
        while not session.ready_hops:
            item = self.buffer.read(self.resampler.input_needed(self._missing_samples))
            if item is None:
                break
            self._feed(item, now, messages)
        if self.buffer.is_exhausted and not session.ready_hops:
            session.feed(self.resampler.flush())
            session.flush()
            self._is_flushed = True
        return self.shed_s - shed_before

    def latency_s(self, time_s: float, now: float) -> float | None:
        """Return the time from the audio at a stream time to now, or None if the stream is not live."""
        return now - (self._start_time + time_s) if self.buffer.is_live else None

    def mark_delivered(self, now: float) -> float | None:
        """Note that a hop's messages are published. Return the time since it was ready, or None if not live."""
        self._last_ready = self.ready_since
        self._grace_hops = max(0, self._grace_hops - 1)
        self.lag_s = max(0.0, now - self.ready_since)
        return self.lag_s if self.buffer.is_live else None

    def release(self, now: float) -> float | None:
        """Leave the worker: become READY and return since when there is work, or become IDLE and return None."""
        has_work = self.state_requests or self._is_flushed or not self.has_session or self.session.ready_hops
        needed = 0 if has_work else self.resampler.input_needed(self._missing_samples)
        since = self.buffer.release(needed, now)
        if since is not None:
            self.ready_since = since
        return since

    def abandon(self, messages: list[Message]) -> None:
        """Report the audio that still waits as a gap, since it will not be processed."""
        if waiting_s := self.buffer.waiting_s:
            messages.append(Gap(self.name, self.seconds, waiting_s))

    @property
    def _missing_samples(self) -> int:
        """Samples until a hop is complete: it ends half a hop after a multiple of the hop."""
        hop = self._spec.hop
        return hop - (self.resampler.emitted + hop // 2) % hop

    def _feed(self, item: QueueItem, now: float, messages: list[Message]) -> None:
        session, arrival = self.session, now
        if isinstance(item, PcmBlock):
            session.feed(self.resampler.feed(bytes(item.data)))
            self._start_time = item.recorded - self.resampler.end_s
            arrival = item.arrival
        elif isinstance(item, ContextReset):
            session.reset_context()
        elif isinstance(item, FormatChange):
            session.feed(self.resampler.change_format(item.new))
        elif item.was_dropped:
            self.shed_s += self._skip(item.samples, messages)
        else:
            tail, lost = self.resampler.insert_gap(item.samples)
            session.feed(tail)
            messages.append(Gap(self.name, session.seconds, item.samples / self.resampler.format.rate))
            if lost:
                session.insert_gap(lost)
        if session.ready_hops:
            self._mark_ready(arrival)

    def _shed(self, now: float, messages: list[Message]) -> None:
        """Drop whole hops of audio that has waited too long, until the rest is recent."""
        hop, resampler = self._spec.hop, self.resampler
        samples = self.buffer.remove_older_than(
            now - self._config.deadline_s, lambda available: resampler.whole_hops(available, hop)
        )
        if samples:
            self.shed_s += self._skip(samples, messages)
            self.ready_since, self._last_ready = now, -inf

    def _skip(self, samples: int, messages: list[Message]) -> float:
        """Skip dropped samples of the producer and return how many seconds of the stream they are.

        Whole hops of them cost nothing and leave no silence. The frames that need them, and those before that still
        waited for audio after them, are never computed: the gap message covers all of these.
        """
        session, hop = self.session, self._spec.hop
        whole = self.resampler.whole_hops(samples, hop)
        tail, hops = self.resampler.skip(whole, hop) if whole else (self.resampler.flush(), 0)
        session.feed(tail)
        start = round(session.seconds * SAMPLE_RATE)
        first_missing = ((start + hop // 2) // hop - 1) * hop  # centre of the first frame that is not computed
        if hops:
            session.skip_hops(hops)
        if whole < samples:
            _, lost = self.resampler.insert_gap(samples - whole)
            if lost:
                session.insert_gap(lost)
        end = round(session.seconds * SAMPLE_RATE)
        start = max(0, min(start, first_missing)) if hops else start
        self._grace_hops = SHED_GRACE_HOPS
        messages.append(Gap(self.name, start / SAMPLE_RATE, (end - start) / SAMPLE_RATE))
        return (end - start) / SAMPLE_RATE

    def _mark_ready(self, since: float) -> None:
        """A hop is complete since then."""
        self.ready_since = max(since, self._last_ready + self._spec.hop_s * HOP_SPACING_FRACTION)
