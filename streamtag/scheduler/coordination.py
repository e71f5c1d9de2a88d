"""Where streams and workers meet: who has a place, who waits to be worked on, and what else there is to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Lock

from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.health import Health
from streamtag.scheduler.processor import StepResult, log
from streamtag.scheduler.ready_queue import ReadyQueue
from streamtag.scheduler.registry import StreamRegistry
from streamtag.scheduler.stream import OnWritable, ScheduledStream

Job = Callable[[], None]


class Coordinator:
    """Any thread may use it. What is no method here is used with `lock` held, which is never held for long.

    An inlet's lock may be taken inside this one, never the other way round.
    """

    def __init__(self, spec: SchedulerConfig, health: Health, clock: Callable[[], float]) -> None:
        self.lock = Lock()
        self.roster = StreamRegistry(spec)
        self.due = ReadyQueue(spec)
        self.health = health
        self.closing = False  # nobody new comes in
        self._clock = clock
        self._jobs: deque[Job] = deque()
        self._closed = False
        self._work = Condition(self.lock)
        self._empty = Condition(self.lock)

    def queue(self, stream: ScheduledStream, since: float) -> None:
        """Its inlet has fired: it waits since then to be worked on."""
        stream.owed = since
        with self.lock:
            if self.due.add(stream, since, self._clock()):
                self._work.notify()

    def add_job(self, job: Job) -> None:
        """Something that a worker does in between. It must not raise. With the lock held."""
        self._jobs.append(job)
        self._work.notify()

    def look(self) -> None:
        """A worker should look again when it has to wake. With the lock held."""
        self._work.notify()

    def take(self, wait: bool = True) -> list[ScheduledStream] | Job | None:
        """What a worker does next; None if it is to end (or, without waiting, if there is nothing to do now)."""
        with self.lock:
            while not self._closed:
                now = self._clock()
                self._let_expire(now)
                task: list[ScheduledStream] | Job | None = (
                    self._jobs.popleft() if self._jobs else self.due.next(now, self.health.batch)
                )
                if task:
                    if self._jobs or self.due:
                        self._work.notify()  # for a worker that sleeps until a time that is none any more
                    return task
                if not wait:
                    return None
                self._work.wait(self._nap_s(now))
            return None

    def back(self, worker: int, streams: Sequence[ScheduledStream], done: StepResult, missed: int) -> None:
        """A step is done; nothing of the streams may be touched behind this."""
        now = self._clock()
        again = []
        for stream in streams:
            if stream not in done.over:
                if stream.inlet.relax(now):
                    _wake(stream.on_writable)
                if (since := stream.rest(now)) is not None:
                    again.append((stream, since))
        with self.lock:
            wanted = [self.due.add(stream, since, now) for stream, since in again]
            self.health.on_step(worker, done.hops, done.seconds, missed, now)
            if any(wanted):
                self._work.notify()
        for stream in done.over:
            self.dismiss(stream)

    def dismiss(self, stream: ScheduledStream) -> None:
        """It has ended, and whoever fed it is told."""
        with self.lock:
            self.roster.remove(stream)
            stream.ended, on_writable = True, stream.on_writable
            if not len(self.roster):
                self._empty.notify_all()
        _wake(on_writable)

    def release(self, name: str) -> None:
        """A stream that was on its way here does not come."""
        with self.lock:
            self.roster.release(name)
            if not len(self.roster):
                self._empty.notify_all()

    def wait_until_empty(self, timeout_s: float) -> bool:
        """-> whether nobody is left."""
        with self.lock:
            return self._empty.wait_for(lambda: not len(self.roster), timeout_s)

    def close(self) -> list[Job]:
        """Workers end -> the jobs that nobody does any more."""
        with self.lock:
            self._closed = self.closing = True
            self._work.notify_all()
            jobs, self._jobs = list(self._jobs), deque()
            return jobs

    def _let_expire(self, now: float) -> None:
        for stream in self.roster.expired(now):
            if stream.inlet.end():
                stream.owed = now
                self.due.add(stream, now, now)

    def _nap_s(self, now: float) -> float | None:
        """Until the next thing that happens by itself."""
        expiry = self.roster.next_expiry()
        times = [time for time in (self.due.nap_s(now), None if expiry is None else expiry - now) if time is not None]
        return max(0.0, min(times)) if times else None


def _wake(on_writable: OnWritable | None) -> None:
    """Whoever is connected. An event loop that is closed already does not want to know."""
    try:
        if on_writable is not None:
            on_writable()
    except Exception:
        log.exception("a producer could not be on_writable")
