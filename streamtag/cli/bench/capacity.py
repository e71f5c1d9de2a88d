"""The largest number of live streams that the scheduler processes on this machine without loss and in time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from streamtag.api import Tagger
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.cli.bench.figures import Figures, print_progress, run_sections
from streamtag.cli.serve import GPU_BATCH, ParallelismPlan
from streamtag.model.batched import torch_threads
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.load import DEADLINE_S, PERIOD_S, LoadSchedule
from streamtag.scheduler.trial import MAX_TRIALS, scheduler_trial, search
from streamtag.text import usable_cores

FIRST, FIRST_ON_A_GPU = 64, 1024  # streams of the first trial
MAX_STREAMS = 1 << 16
BATCH = 64  # streams of a step at most, without a GPU


def run(tagger: Tagger, as_json: bool, seconds: float, precision: str) -> None:
    """Search, and print what was found. seconds: measured in each trial."""
    plan = ParallelismPlan.of(tagger.device)
    schedule = LoadSchedule(tagger.network.spec.hop_s, tagger.network.spec.lookahead_s, seconds=seconds)
    config = SchedulerConfig(workers=plan.threads, batch=BATCH if tagger.device == "cpu" else GPU_BATCH)
    trial = partial(scheduler_trial, tagger, schedule, config=config, processes=plan.processes, precision=precision)
    first = FIRST if tagger.device == "cpu" else FIRST_ON_A_GPU
    sections: dict[str, Callable[[], Figures]] = {
        "rule": lambda: {
            "passed": f"no frame lost, p99 of hop ready to message under {1e3 * DEADLINE_S:g} ms",
            "fed": f"16-bit mono at {SAMPLE_RATE} Hz in chunks of {1e3 * PERIOD_S:g} ms, by the clock",
        },
        "engine alone": lambda: search(trial, first, MAX_STREAMS, MAX_TRIALS * schedule.counted[1], print_progress),
    }
    with torch_threads(1):
        workers = {"worker_processes": plan.processes or 0, "engine_threads": plan.threads}
        run_sections(sections, as_json, tagger.device, cores=usable_cores(), precision=precision, **workers)
