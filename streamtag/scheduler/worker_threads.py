"""The threads that work."""

from __future__ import annotations

import sys
from threading import Thread

from streamtag.scheduler.coordination import Coordinator
from streamtag.scheduler.processor import BatchProcessor, log
from streamtag.scheduler.stats import Observer
from streamtag.scheduler.stream import ScheduledStream

JOIN_S = 10.0  # s; a step that takes longer does not come back
SWITCH_S = 0.001  # s; so long a thread may hold the interpreter while others wait for it, at most

# A step is hundreds of short operations, each of which gives the interpreter up and takes it back. Beside an event
# loop that is busy 30 % of its time, in bursts of 4 ms, a step of 32 streams took 42 to 48 ms with Python's own 5 ms,
# 30 to 31 with 1 ms and 32 to 34 with 0.1 (medians on a busy machine; 22 ms alone on it).


class WorkerThreads:
    """Takes from the desk, works, and gives back, until the desk is closed."""

    def __init__(
        self, desk: Coordinator, work: BatchProcessor, observer: Observer, workers: int, deadline_s: float
    ) -> None:
        self._desk, self._work, self._observer, self._deadline_s = desk, work, observer, deadline_s
        self._switch_s = sys.getswitchinterval()
        self._threads = [
            Thread(target=self._run, args=(number,), name=f"streamtag-worker-{number}", daemon=True)
            for number in range(workers)
        ]

    def start(self) -> None:
        sys.setswitchinterval(min(SWITCH_S, self._switch_s))
        for thread in self._threads:
            thread.start()

    def join(self) -> bool:
        """-> whether all have ended."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(JOIN_S)
        sys.setswitchinterval(self._switch_s)
        return not any(thread.is_alive() for thread in self._threads)

    def once(self, worker: int = 0, wait: bool = False) -> bool:
        """One task, if there is one -> whether there was."""
        task = self._desk.take(wait)
        if task is None:
            return False
        if callable(task):
            task()
            return True
        self._step(worker, task)
        return True

    def _step(self, worker: int, streams: list[ScheduledStream]) -> None:
        try:
            done = self._work.step(streams)
            missed = sum(lag > self._deadline_s for lag in done.lags_s)
            self._desk.back(worker, streams, done, missed)
        except Exception:  # a defect: nobody shall wait for these streams in vain
            for stream in streams:
                self._desk.dismiss(stream)
            raise
        for stream in done.over:
            self._work.export(stream)  # for those who asked meanwhile: they are told that it has ended
        for shed_s in done.shed_s:
            self._observer.on_shed(shed_s)
        if done.hops:
            self._observer.on_step(done.hops, done.seconds, done.lags_s, missed)

    def _run(self, worker: int) -> None:
        going_on = True
        while going_on:
            try:
                going_on = self.once(worker, wait=True)
            except Exception:  # a defect, in an observer for one; the others' streams must not stand still for it
                log.exception("a worker stumbled")
