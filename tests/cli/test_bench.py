"""The benchmark measures what it claims, on a small model; its figures are not judged here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamtag.api import Tagger
from streamtag.cli.bench import offline
from streamtag.cli.bench.figures import run_sections
from streamtag.cli.bench.live import PacedSource, live
from streamtag.cli.serve import ParallelismPlan
from streamtag.model import Scattering, ScatteringSpec
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.load import CHUNK, DEADLINE_S, MIN_SLEEP_S, LoadSchedule, Trial, TrialRecorder, feed
from streamtag.scheduler.trial import RESOLUTION, scheduler_trial, search
from tests.benchmarks.sockets import socket_trial
from tests.fake_clock import FakeClock

pytestmark = pytest.mark.usefixtures("one")
Need = Callable[[str, bool, str], None]
SCHEDULE = LoadSchedule(0.256, 0.384, warm_up_s=0.1, seconds=0.8)
MOST = 1 << 20


# --- front end, hop and file ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0, 1])
def test_the_front_end_is_compared_with_kymatio_and_a_wrong_one_shows(need: Need, shift: int) -> None:
    need("kymatio", offline.load_kymatio(8192) is not None, "machine cannot import kymatio.torch")

    class Shifted(Scattering):
        def forward(self, audio: torch.Tensor) -> torch.Tensor:
            return super().forward(audio).roll(shift, dims=1)

    figures = offline.front_end(Shifted(ScatteringSpec()), clips=1, clip_s=4.5)
    assert (figures["S1_error"] < 1e-3) == (shift == 0)
    assert (figures["S2_error"] < 2e-3) == (shift == 0)
    assert figures["ratio"] == pytest.approx(figures["times_real_time"] / figures["kymatio_times_real_time"])
    assert figures["ratio"] > 1


def test_hops_and_files_are_timed(tagger: Tagger) -> None:
    threads = torch.get_num_threads()
    times = offline.hops(tagger, count=5)
    assert 0 < times["p50_ms"] <= times["p95_ms"] <= times["p99_ms"]
    assert times["available_ms"] == 256.0
    assert torch.get_num_threads() == threads
    whole = offline.whole_file(tagger, minutes=0.1)
    assert whole["times_real_time"] == pytest.approx(6 / whole["seconds"])


def test_results_are_one_json_object_or_a_list_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    sections = {"a hop": lambda: {"p50_ms": 1.5, "trials": ["64: passed"]}}
    run_sections(sections, True, "cpu", cores=2)
    printed = json.loads(capsys.readouterr().out)
    assert printed["a hop"] == {"p50_ms": 1.5, "trials": ["64: passed"]}
    assert (printed["machine"]["device"], printed["machine"]["cores"]) == ("cpu", 2)
    run_sections(sections, False, "cpu")
    captured = capsys.readouterr()
    assert "a hop\n  p50 ms                       1.5\n  trials                       64: passed" in captured.out
    assert captured.err == "streamtag bench: a hop ...\n"


# --- a live stream -------------------------------------------------------------------------------------------------


def test_every_subscriber_gets_every_frame_of_a_live_stream(tagger: Tagger) -> None:
    figures = live(tagger, partial(PacedSource, 2.5), 2.5, warm_up_s=0.5)
    assert figures["frames"] == pytest.approx((2.5 - 0.5) / 0.256, abs=3)
    assert figures["not_delivered"] == 0
    assert figures["connected_at_the_end"] == 10
    times = [figures[f"arrival_to_subscriber_{name}_ms"] for name in ("p50", "p95", "p99", "max")]
    assert 0 < times[0] <= times[1] <= times[2] <= times[3]
    assert figures["sound_to_message_worst_ms"] == pytest.approx(times[3] + 384 + 256, abs=1)


# --- the schedule --------------------------------------------------------------------------------------------------


@given(st.integers(0, 500), st.integers(0, 200))
def test_a_frame_is_ready_with_the_chunk_that_holds_its_last_sample(stream: int, frame: int) -> None:
    needed = round((0.256 * frame + 0.384) * 16000)  # samples
    chunk = next(chunk for chunk in range(1200) if (chunk + 1) * CHUNK >= needed)
    assert SCHEDULE.ready(stream, frame) == pytest.approx(SCHEDULE.due(stream, chunk))


def test_chunks_are_pushed_when_they_are_due() -> None:
    pushed: list[tuple[float, int]] = []
    clock = FakeClock()
    start = clock.now
    feed(SCHEDULE, range(4), start, lambda stream, _: pushed.append((clock.now - start, stream)), clock, clock.sleep)
    due = list(SCHEDULE.pushes(range(4)))
    assert [stream for _, stream in pushed] == [stream for _, stream, _ in due]
    assert [when for when, _ in pushed] == pytest.approx([at for at, _, _ in due], abs=MIN_SLEEP_S)


# --- the rule and the search ---------------------------------------------------------------------------------------


def trial_of(numbers: Callable[[int], list[int]], delay_s: float = 0.01, streams: int = 5) -> Trial:
    """Return a trial in which each stream had these frames, so long after they were ready."""
    recorder = TrialRecorder(SCHEDULE, range(streams))
    for stream in range(streams):
        for number in numbers(stream):
            recorder.add_frame(stream, number, 100.0 + SCHEDULE.ready(stream, number) + delay_s)
    return recorder.trial(100.0)


def test_a_trial_passes_if_all_frames_come_in_time() -> None:
    trial = trial_of(lambda _: list(range(10)))
    assert trial.passed
    assert trial.delays_s == pytest.approx(0.01)
    assert len(trial.delays_s) == sum(len(SCHEDULE.expected(stream)) for stream in range(5))
    assert not trial_of(lambda _: list(range(10)), DEADLINE_S + 0.001).passed
    assert not replace(trial, gaps=1).passed
    assert not replace(trial, refused=1).passed
    assert not Trial(3, np.zeros(0)).passed


@pytest.mark.parametrize(
    ("numbers", "missing", "repeated"),
    [([0, 1, 3, 4, 5, 6, 7], 1, 0), ([0, 1, 2, 3, 3, 4, 5, 6, 7], 0, 1), ([0], 3, 0), ([], 3, 0)],
)
def test_lost_and_repeated_frames_fail(numbers: list[int], missing: int, repeated: int) -> None:
    assert SCHEDULE.expected(2) == [1, 2, 3]
    trial = trial_of(lambda stream: numbers if stream == 2 else list(range(10)))
    assert (trial.missing, trial.repeated) == (missing, repeated)
    assert not trial.passed


def made(streams: int, passed: bool) -> Trial:
    return Trial(streams, np.array([0.01 if passed else 1.0]))


@given(st.integers(0, 3000), st.integers(1, 500))
def test_the_search_ends_near_the_largest_number_that_passes(capacity: int, first: int) -> None:
    tried: list[int] = []

    def trial(streams: int) -> Trial:
        tried.append(streams)
        return made(streams, streams <= capacity)

    found = search(trial, first, MOST, math.inf)["streams"]
    assert found <= capacity
    assert capacity - found <= max(1, RESOLUTION * capacity)
    assert max(tried) > capacity
    assert len(tried) < 50


def test_a_number_fails_only_if_it_fails_twice() -> None:
    tried: list[int] = []

    def trial(streams: int) -> Trial:
        tried.append(streams)
        return made(streams, streams < 40 and tried.count(streams) == 2)

    found = search(trial, 10, MOST, math.inf)
    assert found["streams"] >= 38
    assert tried[:6] == [10, 10, 20, 20, 40, 40]


def test_the_search_ends_at_its_limits() -> None:
    allowed = search(lambda n: made(n, True), 10, 100, math.inf)
    assert (allowed["streams"], allowed["bound"]) == (100, "more were not allowed")
    hasty = search(lambda n: made(n, True), 10, MOST, 0.0)
    assert (hasty["streams"], hasty["bound"]) == (10, "there was no time for more")
    assert len(hasty["trials"]) == 1
    assert search(lambda n: made(n, False), 1, MOST, math.inf)["streams"] == 0


# --- many streams --------------------------------------------------------------------------------------------------


def check(trial: Trial, streams: int) -> None:
    assert trial.is_lossless, trial
    assert len(trial.delays_s) == sum(len(SCHEDULE.expected(stream)) for stream in range(streams))
    assert trial.delays_s.min() > 0


@pytest.mark.parametrize(
    "plan", [ParallelismPlan(None, 2), pytest.param(ParallelismPlan(2, 3), marks=pytest.mark.slow)]
)
def test_the_scheduler_is_measured_by_the_clock(tagger: Tagger, plan: ParallelismPlan) -> None:
    trial = scheduler_trial(tagger, SCHEDULE, 6, SchedulerConfig(workers=plan.threads), plan.processes)
    check(trial, 6)
    assert 1 <= trial.figures["batch_mean"] <= 6
    assert trial.figures["worker_ms_a_hop"] > 0
    assert trial.figures["device_bytes_a_stream"] > 10_000


@pytest.mark.slow
def test_a_real_server_is_measured_by_producers_in_another_process(model: Path) -> None:
    trial = socket_trial(model, "cpu", SCHEDULE, 5)
    check(trial, 5)
    assert trial.figures["server_mib"] > 50
    assert 5 < trial.figures["kbit_a_second_out_a_stream"] < 150  # 50 tags and, in this model, as many concepts
