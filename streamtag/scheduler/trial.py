"""Trials of a scheduler under a load by the clock, and the search for the largest number of streams that passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from streamtag.audio.pcm import PcmFormat
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.inference.batch import SessionPool
from streamtag.protocol.messages import Frame, Gap, Message
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.load import LoadSchedule, Trial, TrialRecorder, feed
from streamtag.scheduler.scheduler import Scheduler
from streamtag.scheduler.stats import Observer

if TYPE_CHECKING:
    from streamtag.inference.session import HasNetwork

WARM_UP_BATCH = 4096
MAX_TRIALS = 20  # that a search has time for, about
RESOLUTION = 0.02  # of the number that passed: the search ends when the next failure is not farther away


def search(
    trial: Callable[[int], Trial],
    first: int,
    most: int,
    limit_s: float,
    show: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Return the figures of the largest number of streams that passes, `bound`: how certain it is, and all `trials`.

    The number is doubled until a trial fails, then bisected; no trial starts after limit_s. A number fails if it fails
    twice: whatever else the machine had to do must not count against it. show: is given each trial in one line.
    """
    until = time.monotonic() + limit_s
    trials: list[Trial] = []
    best: Trial | None = None
    failed: int | None = None
    number, bound = min(first, most), "there was no time for more"
    while not trials or time.monotonic() < until:
        for _ in range(2):
            trials.append(trial(number))
            show(str(trials[-1]))
            if trials[-1].passed:
                best = trials[-1]
                break
        else:
            failed, bound = number, f"{number} failed"
        passed = 0 if best is None else best.streams
        if failed is None:
            if passed >= most:
                bound = "more were not allowed"
                break
            number = min(2 * passed, most)
        elif failed - passed <= max(1, RESOLUTION * passed):
            break
        else:
            number = (passed + failed) // 2
    figures = {} if best is None else {"bound": bound, **best.to_figures()}
    return {"streams": 0 if best is None else best.streams, **figures, "trials": [str(each) for each in trials]}


class StepRecorder(Observer):
    """Records the number of streams and the duration [s] of each step."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float]] = []

    def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:  # noqa: ARG002
        self.steps.append((streams, seconds))


def scheduler_trial(
    tagger: HasNetwork,
    schedule: LoadSchedule,
    streams: int,
    config: SchedulerConfig,
    processes: int | None = None,
    precision: str = "float32",
) -> Trial:
    """Push the bytes of many producers into a scheduler by the clock and record its messages.

    config: of the scheduler, but for the number of streams. processes, precision: as SessionPool has them.
    """
    recorder, steps = TrialRecorder(schedule, range(streams)), StepRecorder()
    blocked: set[str] = set()  # producers that must not push until there is room again

    def publish(messages: Sequence[Message]) -> None:
        now = time.monotonic()
        for message in messages:
            if isinstance(message, Frame):
                recorder.add_frame(int(message.stream), message.frame, now)
            elif isinstance(message, Gap):
                recorder.add_gap(int(message.stream))

    def push(stream: int, chunk: bytes) -> None:
        if str(stream) in blocked:
            recorder.add_gap(stream)
        elif not handles[stream].push(chunk):
            blocked.add(str(stream))

    with ExitStack() as resources:
        pool = resources.enter_context(SessionPool(tagger, streams, precision, processes))
        pool.warm_up(WARM_UP_BATCH)
        scheduler = Scheduler(pool, publish, replace(config, max_streams=streams), observer=steps)
        resources.enter_context(scheduler)
        format, names = PcmFormat(SAMPLE_RATE, "s16le", 1), [str(stream) for stream in range(streams)]
        handles = [scheduler.open(name, format, None, partial(blocked.discard, name)) for name in names]
        start = time.monotonic() + 0.1
        feed(schedule, range(streams), start, push)
        recorder.wait()
        hops = max(1, sum(streams for streams, _ in steps.steps))
        trial = recorder.trial(
            start,
            batch_mean=hops / max(1, len(steps.steps)),
            worker_ms_a_hop=1e3 * sum(seconds for _, seconds in steps.steps) / hops,
            device_bytes_a_stream=pool.slot_bytes,
        )
        for handle in handles:
            handle.end()
    return trial
