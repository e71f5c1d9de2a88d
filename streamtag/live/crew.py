"""The threads that work."""

from __future__ import annotations

from threading import Thread

from streamtag.live.desk import Desk
from streamtag.live.load import Observer
from streamtag.live.work import Work

JOIN_S = 10.0  # s; a step that takes longer does not come back


class Crew:
    """Takes from the desk, works, and gives back, until the desk is closed."""

    def __init__(self, desk: Desk, work: Work, observer: Observer, workers: int, deadline_s: float) -> None:
        self._desk, self._work, self._observer, self._deadline_s = desk, work, observer, deadline_s
        self._threads = [
            Thread(target=self._run, args=(number,), name=f"streamtag-worker-{number}", daemon=True)
            for number in range(workers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> bool:
        """-> whether all have ended."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(JOIN_S)
        return not any(thread.is_alive() for thread in self._threads)

    def once(self, worker: int = 0, wait: bool = False) -> bool:
        """One task, if there is one -> whether there was."""
        task = self._desk.take(wait)
        if task is None:
            return False
        if callable(task):
            task()
            return True
        done = self._work.step(task)
        missed = sum(lag > self._deadline_s for lag in done.lags_s)
        self._desk.back(worker, task, done, missed)
        for stream in done.over:
            self._work.export(stream)  # for those who asked meanwhile: they are told that it has ended
        for shed_s in done.shed_s:
            self._observer.shed(shed_s)
        if done.hops:
            self._observer.ticked(done.hops, done.seconds, done.lags_s, missed)
        return True

    def _run(self, worker: int) -> None:
        while self.once(worker, wait=True):
            pass
