"""The largest number of live streams that the scheduler processes on this machine without loss and in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from streamtag.api import load
from streamtag.audio.pcm import PcmFormat
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.cli.bench.figures import Figures, one_thread, print_progress, run_sections
from streamtag.cli.bench.load import DEADLINE_S, PERIOD_S, LoadSchedule, Trial, TrialRecorder, feed
from streamtag.cli.serve import GPU_BATCH, ParallelismPlan
from streamtag.inference.batch import SessionPool
from streamtag.protocol.messages import Frame, Gap, Message
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.scheduler import Scheduler
from streamtag.scheduler.stats import NullObserver
from streamtag.text import usable_cores

if TYPE_CHECKING:
    from streamtag.api import Tagger

FIRST, FIRST_ON_A_GPU = 64, 1024  # streams of the first trial
MAX_STREAMS = 1 << 16
BATCH = 64  # streams of a step at most, without a GPU
WARM_UP_BATCH = 4096
MAX_TRIALS = 20  # that a search has time for, about
RESOLUTION = 0.02  # of the number that passed: the search ends when the next failure is not farther away


def run(as_json: bool, model: Path | None, device: str, seconds: float, precision: str) -> int:
    """Search, print what was found and return the exit code. seconds: measured in each trial."""
    tagger = load(model, device)
    plan = ParallelismPlan.of(tagger.device)
    schedule = LoadSchedule(tagger.network.spec.hop_s, tagger.network.spec.lookahead_s, seconds=seconds)
    trial = partial(scheduler_trial, tagger, schedule, plan=plan, precision=precision)
    first = FIRST if tagger.device == "cpu" else FIRST_ON_A_GPU
    sections: dict[str, Callable[[], Figures]] = {
        "rule": lambda: {
            "passed": f"no frame lost, p99 of hop ready to message under {1e3 * DEADLINE_S:g} ms",
            "fed": f"16-bit mono at {SAMPLE_RATE} Hz in chunks of {1e3 * PERIOD_S:g} ms, by the clock",
        },
        "engine alone": lambda: search(trial, first, MAX_STREAMS, MAX_TRIALS * schedule.counted[1]),
    }
    with one_thread():
        workers = {"worker_processes": plan.processes or 0, "engine_threads": plan.threads}
        run_sections(sections, as_json, tagger.device, cores=usable_cores(), precision=precision, **workers)
    return 0


def search(trial: Callable[[int], Trial], first: int, most: int, limit_s: float) -> Figures:
    """Return the figures of the largest number of streams that passes, `bound`: how certain it is, and all `trials`.

    The number is doubled until a trial fails, then bisected; no trial starts after limit_s. A number fails if it fails
    twice: whatever else the machine had to do must not count against it.
    """
    until = time.monotonic() + limit_s
    trials: list[Trial] = []
    best: Trial | None = None
    failed: int | None = None
    number, bound = min(first, most), "there was no time for more"
    while not trials or time.monotonic() < until:
        for _ in range(2):
            trials.append(trial(number))
            print_progress(str(trials[-1]))
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


class StepRecorder(NullObserver):
    """Records the number of streams and the duration [s] of each step."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float]] = []

    def on_step(self, streams: int, seconds: float, lags_s: Sequence[float], missed: int) -> None:  # noqa: ARG002
        self.steps.append((streams, seconds))


def scheduler_trial(
    tagger: Tagger, schedule: LoadSchedule, streams: int, plan: ParallelismPlan, precision: str = "float32"
) -> Trial:
    """Push the bytes of many producers into a scheduler by the clock and record its messages."""
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

    batch = BATCH if tagger.device == "cpu" else GPU_BATCH
    config = SchedulerConfig(workers=plan.threads, max_streams=streams, batch=batch)
    with ExitStack() as resources:
        pool = resources.enter_context(SessionPool(tagger, streams, precision, plan.processes))
        pool.warm_up(WARM_UP_BATCH)
        scheduler = Scheduler(pool, publish, config, observer=steps)
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
