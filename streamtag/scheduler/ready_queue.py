"""The order in which workers process streams that are ready, and do other things."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from streamtag.scheduler.capacity import CapacityMeasurement, SyntheticStreams
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.ingest_buffer import RunState
from streamtag.scheduler.stream import ScheduledStream

MAX_FILE_BATCH = 16  # streams of files in one step, so that a live one never waits long for it
MEASUREMENT_POLL_S = 0.1  # between two looks whether the pool's processes have started

Entry = tuple[float, int, ScheduledStream]
Job = Callable[[], None]
Task = Job | list[ScheduledStream] | SyntheticStreams


class ReadyQueue:
    """Order what workers have to do: jobs, live streams, pieces of a measurement, files.

    Among live streams urgent ones come first, then those that wait longest. Used with the scheduler's lock held.
    """

    def __init__(self, config: SchedulerConfig) -> None:
        self.measurement: CapacityMeasurement | None = None  # while it is not done
        self._config = config
        self._jobs: deque[Job] = deque()
        self._urgent: list[Entry] = []
        self._live: list[Entry] = []
        self._files: list[Entry] = []
        self._count = count()  # so that streams themselves are never compared

    def __len__(self) -> int:
        """Number of streams."""
        return self.live + len(self._files)

    @property
    def has_work(self) -> bool:
        """There is a job or a stream."""
        return bool(self._jobs or len(self))

    @property
    def live(self) -> int:
        """Number of live streams."""
        return len(self._urgent) + len(self._live)

    def lag_s(self, now: float) -> float:
        """Return how long the live stream that waits longest has waited, in seconds."""
        oldest = self._oldest
        return 0.0 if oldest is None else max(0.0, now - oldest)

    def add(self, stream: ScheduledStream, now: float) -> bool:
        """Add a stream that is READY and return whether a worker should look at the queue."""
        if stream.buffer.is_live:
            queue = self._urgent if stream.is_urgent else self._live
            heappush(queue, (stream.ready_since, next(self._count), stream))
            return self.live in (1, self._config.batch)
        heappush(self._files, (now, next(self._count), stream))  # in turns, however long their audio has waited
        return len(self._files) == 1

    def add_job(self, job: Job) -> None:
        """Add something that a worker does between steps."""
        self._jobs.append(job)

    def close(self) -> list[Job]:
        """Return the jobs that no worker will do."""
        jobs, self._jobs = list(self._jobs), deque()
        return jobs

    def next_task(self, now: float, max_streams: int) -> Task | None:
        """Remove what a worker should do next, or return None if there is nothing now.

        max_streams: streams in one step. A step waits until there are so many live streams, or one has waited for the
        batch window.
        """
        most, wait_s = min(max_streams, self._config.batch), self.wait_s(now)
        if self._jobs:
            return self._jobs.popleft()
        if wait_s is not None and (wait_s <= 0 or self.live >= most):
            urgent = _pop(self._urgent, most)
            return urgent + _pop(self._live, most - len(urgent))
        if self.measurement is not None and not self.live:
            piece = self.measurement.next_piece()
            if piece is not None:
                return piece
        return _pop(self._files, min(most, MAX_FILE_BATCH)) or None

    def wait_s(self, now: float) -> float | None:
        """Return how long a step can wait for other live streams to share it.

        Without live streams, return the time until the measurement may continue, or None if there is none.
        """
        oldest = self._oldest
        if oldest is None:
            return None if self.measurement is None else MEASUREMENT_POLL_S
        return max(0.0, oldest + self._config.batch_window_s - now)

    @property
    def _oldest(self) -> float | None:
        return min((queue[0][0] for queue in (self._urgent, self._live) if queue), default=None)


def _pop(queue: list[Entry], max_streams: int) -> list[ScheduledStream]:
    streams = [heappop(queue)[2] for _ in range(min(max_streams, len(queue)))]
    for stream in streams:
        stream.buffer.state = RunState.RUNNING
    return streams
