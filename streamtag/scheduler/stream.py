"""One stream of an engine, and what a worker does with it while it has it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from streamtag.audio.resample import SAMPLE_RATE
from streamtag.protocol.messages import Gap, Message
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.ingest_buffer import IngestBuffer
from streamtag.scheduler.ingest_resampler import IngestResampler
from streamtag.scheduler.pcm_queue import FormatChange, MissingAudio, Sound
from streamtag.scheduler.stats import StreamStats
from streamtag.spec import ScatteringSpec

if TYPE_CHECKING:
    from streamtag.inference.batch import PooledSession

HOP, HOP_S = ScatteringSpec().hop, ScatteringSpec().hop_s  # every model's
MIN_HOP_SPACING_S = HOP_S / 4  # so long after the one before is a hop owed that came together with it

SHED_GRACE_HOPS = 4  # hops that are done after some were shed, before anybody else's: fewer would give no frame

OnWritable = Callable[[], None]


class ScheduledStream:
    """Owned by the worker that has it. It is in a worker's hands, or on the way there, unless its inlet is armed.

    Any thread may use the inlet and append to `errands`; the engine's lock guards on_writable, away_since and ended.
    """

    def __init__(
        self, name: str, inlet: IngestBuffer, spec: SchedulerConfig, now: float, on_writable: OnWritable | None
    ) -> None:
        """on_writable: of the connection that feeds it; None: there is none."""
        self.name = name
        self.inlet = inlet
        self.on_writable = on_writable
        self.away_since: float | None = None
        self.ended = False
        self.errands: deque[Future[bytes]] = deque()  # who waits for its state
        self.owed = now  # since when the next hop is owed
        self.lag_s = 0.0
        self.shed_s = 0.0
        self.row = -1  # of the board
        self._session: PooledSession | None = None
        self._intake: IngestResampler | None = None
        self._spec = spec
        self._format = inlet.format  # before any other comes
        self._flushed = False
        self._last = float("-inf")  # when the hop before was owed
        self._spared = 0  # hops that are done at once, and not shed
        self._began = now  # when, by the clock, the stream's time was 0

    @property
    def session(self) -> PooledSession:
        assert self._session is not None
        return self._session

    @property
    def intake(self) -> IngestResampler:
        assert self._intake is not None
        return self._intake

    @property
    def begun(self) -> bool:
        """It has a session."""
        return self._session is not None

    @property
    def urgent(self) -> bool:
        """Much of it was shed just now: what is left is done, so that it was not for nothing."""
        return self._spared > 0

    @property
    def seconds(self) -> float:
        """Of the stream that the network was fed, what was lost included."""
        return self._intake.gone / SAMPLE_RATE if self._intake else 0.0

    @property
    def done(self) -> bool:
        """Over, and all its frames given."""
        return self._flushed and self.session.is_finished

    @property
    def standing(self) -> bool:
        """It stands between two hops, and goes on: its state may be taken."""
        return self.goes_on and not self.session.ready_hops

    @property
    def goes_on(self) -> bool:
        """More of it is heard."""
        return self.begun and not self._flushed

    @property
    def load(self) -> StreamStats:
        away = self.away_since is not None
        waiting_s, live = self.inlet.waiting_s, self.inlet.live
        return StreamStats(self.name, self.seconds, self.lag_s, waiting_s, self.shed_s, live, away)

    def begin(self, session: PooledSession, row: int, intake: IngestResampler | None = None) -> None:
        """intake: where it goes on; None: it is new."""
        self._session, self.row = session, row
        self._intake = intake or IngestResampler(self._format)

    def leave(self) -> None:
        """Gives its slot back."""
        self.session.remove()
        self._session = None

    def prepare(self, now: float, messages: list[Message]) -> float:
        """Feeds the session until it has a hop ready, or nothing waits -> s of sound that were shed.

        messages: where gaps are told.
        """
        if self.session.ready_hops:
            self._owe(self.owed)
        if self._flushed:
            return 0.0
        before = self.shed_s
        late = now - max(self.owed, self._last + MIN_HOP_SPACING_S) > self._spec.shed_after_s
        if late and self.inlet.live and not self.urgent:
            self._shed(now, messages)
        while not self.session.ready_hops and (item := self.inlet.take(self.intake.needs(self._missing))) is not None:
            self._hear(item, now, messages)
        if self.inlet.over and not self.session.ready_hops:
            self.session.feed(self.intake.flush())
            self.session.flush()
            self._flushed = True
        return self.shed_s - before

    def latency_s(self, time_s: float, now: float) -> float | None:
        """From the sound at a time of the stream to now; None if it comes faster than time goes."""
        return now - (self._began + time_s) if self.inlet.live else None

    def told(self, now: float) -> float | None:
        """A hop's messages are told -> how long it was owed, s; None if nobody waits for it."""
        self._last = self.owed
        self._spared = max(0, self._spared - 1)
        self.lag_s = max(0.0, now - self.owed)
        return self.lag_s if self.inlet.live else None

    def rest(self, now: float) -> float | None:
        """-> since when there is more to do; None: nothing until the inlet fires, and it is out of our hands."""
        if self.errands or self._flushed or not self.begun or self.session.ready_hops:
            self.owed = now
            return now
        samples = self.intake.needs(self._missing)
        since = self.inlet.rest(samples, now)
        if since is not None:
            self.owed = since
        return since

    def give_up(self, messages: list[Message]) -> None:
        """It ends unheard from here on."""
        if waiting_s := self.inlet.waiting_s:
            messages.append(Gap(self.name, self.seconds, waiting_s))

    @property
    def _missing(self) -> int:
        """Samples until a hop is whole: it ends half a hop after a multiple of the hop."""
        return HOP - (self.intake.gone + HOP // 2) % HOP

    def _hear(self, item: Sound | MissingAudio | FormatChange, now: float, messages: list[Message]) -> None:
        arrived = now
        if isinstance(item, Sound):
            self.session.feed(self.intake.hear(bytes(item.data)))
            self._began = item.made - self.intake.place_s
            arrived = item.arrived
        elif isinstance(item, MissingAudio) and item.thrown:
            self.shed_s += self._pass_over(item.samples, messages)
        elif isinstance(item, MissingAudio):
            tail, lost = self.intake.lose(item.samples)
            self.session.feed(tail)
            messages.append(Gap(self.name, self.session.seconds, item.samples / self.intake.format.rate))
            if lost:
                self.session.insert_gap(lost)
        else:
            self.session.feed(self.intake.turn(item.format))
        if self.session.ready_hops:
            self._owe(arrived)

    def _shed(self, now: float, messages: list[Message]) -> None:
        """Sound that waited too long is thrown away, whole hops of it, until what is left is fresh."""
        samples = self.inlet.shed(now - self._spec.deadline_s, lambda most: self.intake.whole(most, HOP))
        if samples:
            self.shed_s += self._pass_over(samples, messages)
            self.owed, self._last = now, float("-inf")

    def _pass_over(self, samples: int, messages: list[Message]) -> float:
        """So many of the producer's were thrown away -> s. Whole hops of them cost nothing, and leave no silence.

        The frames that need them, and those before that still waited for sound behind them, are never made: the gap
        that is told covers all of these.
        """
        whole = self.intake.whole(samples, HOP)
        tail, hops = self.intake.skip(whole, HOP) if whole else (self.intake.flush(), 0)
        self.session.feed(tail)
        begin = round(self.session.seconds * SAMPLE_RATE)
        never = ((begin + HOP // 2) // HOP - 1) * HOP  # centre of the first frame that is not made, if any hop is not
        if hops:
            self.session.skip_hops(hops)
        if whole < samples:
            _, lost = self.intake.lose(samples - whole)
            if lost:
                self.session.insert_gap(lost)
        end = round(self.session.seconds * SAMPLE_RATE)
        begin = max(0, min(begin, never)) if hops else begin
        self._spared = SHED_GRACE_HOPS
        messages.append(Gap(self.name, begin / SAMPLE_RATE, (end - begin) / SAMPLE_RATE))
        return (end - begin) / SAMPLE_RATE

    def _owe(self, since: float) -> None:
        """A hop is there since then."""
        self.owed = max(since, self._last + MIN_HOP_SPACING_S)
