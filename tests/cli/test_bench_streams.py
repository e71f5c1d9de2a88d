"""The bench of many streams finds what is there to be found; how much this machine holds is not judged here."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.api import Tagger
from streamtag.cli.bench.measure import music
from streamtag.cli.bench.streams import alone, command, sockets
from streamtag.cli.bench.streams.footprint import kib_a_stream
from streamtag.cli.bench.streams.pace import Pace, chunks, feed
from streamtag.cli.bench.streams.parts import TimedHopStep, parts
from streamtag.cli.bench.streams.peers import Peers
from streamtag.cli.bench.streams.pooled import pool_trial
from streamtag.cli.bench.streams.process import program_mib, resident_mib
from streamtag.cli.bench.streams.search import CLOSE, search
from streamtag.cli.bench.streams.shares import shares
from streamtag.cli.bench.streams.sizing import Sizing
from streamtag.cli.bench.streams.sockets import Serving, serving, socket_trial
from streamtag.cli.bench.streams.tally import DEADLINE_S, Tally, Trial
from streamtag.cli.parallelism import ParallelismPlan
from streamtag.errors import StreamtagError
from streamtag.inference.batch import SessionPool
from streamtag.model.batched import BatchedTagger
from streamtag.protocol.messages import Frame, Gap, Message

pytestmark = pytest.mark.usefixtures("one")
PACE = Pace(0.256, 0.384, warm_s=0.1, seconds=0.8)


# --- the clock -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 500), st.integers(0, 200), st.sampled_from([8000, 16000, 44100, 48000]), st.integers(0, 300))
def test_a_frame_is_ready_with_the_chunk_that_holds_its_last_sample(
    stream: int, frame: int, rate: int, before: int
) -> None:
    pace = replace(PACE, rate=rate)
    needed = (0.256 * frame + 0.384) * rate  # samples
    of_it = [chunk for chunk in range(1200) if (chunk + 1) * pace.chunk >= round(needed)]
    assert pace.ready(stream, frame, before) == pytest.approx(pace.due(stream, of_it[0] - before))


@pytest.mark.parametrize("before", [0, 7, 100])
def test_counted_frames_are_those_that_are_ready_in_the_window_and_all_are_fed_for(before: int) -> None:
    first, last = PACE.counted
    for stream in range(20):
        wanted = [n for n in range(200) if first <= PACE.ready(stream, n, before) < last]
        assert PACE.expected(stream, before) == wanted
        assert len(wanted) == pytest.approx(0.8 / 0.256, abs=1)


def test_pushes_come_in_the_order_of_the_clock_and_leave_nothing_out() -> None:
    pushes = list(PACE.pushes(range(9)))
    assert [due for due, _, _ in pushes] == sorted(due for due, _, _ in pushes)
    assert all(due == PACE.due(stream, chunk) for due, stream, chunk in pushes)
    for stream in range(9):
        numbers = [chunk for _, of, chunk in pushes if of == stream]
        assert numbers == list(range(len(numbers)))
        assert PACE.due(stream, numbers[-1]) >= PACE.end_s  # what is counted has all its sound
    phases = sorted(PACE.phase(stream) for stream in range(100))
    assert max(np.diff(phases)) < 3 * 0.256 / 100  # spread over the hop


def test_sound_is_pushed_when_it_is_due_and_lateness_is_told() -> None:
    pushed: list[tuple[float, int, int]] = []

    def push(stream: int, chunk: int) -> None:
        pushed.append((time.monotonic(), stream, chunk))
        if len(pushed) == 10:
            time.sleep(0.15)

    start = time.monotonic()
    late = feed(PACE, range(4), start, push)
    assert [(stream, chunk) for _, stream, chunk in pushed] == [push[1:] for push in PACE.pushes(range(4))]
    assert all(when - start >= PACE.due(stream, chunk) - 1e-6 for when, stream, chunk in pushed)
    assert max(late) > 0.1
    assert np.median(late) < 0.1


def test_the_sound_is_music_all_the_way() -> None:
    for rate in (16000, 48000):
        pieces = chunks(replace(PACE, rate=rate))
        assert {len(piece) for piece in pieces} == {2 * rate // 10}
        levels = [np.sqrt(np.mean((np.frombuffer(piece, "<i2") / 32768) ** 2)) for piece in pieces[:150]]
        assert min(levels) > 0.01


# --- the rule ------------------------------------------------------------------------------------------------------


def told(numbers: Callable[[int], list[int]], after: float = 0.01, streams: int = 5) -> Trial:
    """A trial in which each stream had such frames, so long after they were ready."""
    tally = Tally(PACE, range(streams))
    for stream in range(streams):
        for number in numbers(stream):
            tally.frame(stream, number, 100.0 + PACE.ready(stream, number) + after)
    return tally.trial(100.0)


LAST = 10


def test_streams_whose_frames_all_come_in_time_are_held() -> None:
    trial = told(lambda _: list(range(LAST)))
    assert trial.held
    assert (trial.missing, trial.repeated) == (0, 0)
    assert trial.p99_s == pytest.approx(0.01)
    assert len(trial.after) == sum(len(PACE.expected(stream)) for stream in range(5))


@pytest.mark.parametrize(
    ("numbers", "missing", "repeated"),
    [
        ([0, 1, 2, 3, 5, 6, 7, 8, 9], 1, 0),
        ([0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9], 0, 1),
        ([0, 1, 2, 4, 3, 5, 6, 7, 8, 9], 2, 1),
        ([0, 1], len([n for n in PACE.expected(2) if n > 1]), 0),
        ([], len(PACE.expected(2)), 0),
    ],
)
def test_a_frame_that_is_lost_or_repeated_is_noticed(numbers: list[int], missing: int, repeated: int) -> None:
    trial = told(lambda stream: numbers if stream == 2 else list(range(LAST)))
    assert (trial.missing, trial.repeated) == (missing, repeated)
    assert not trial.held


def test_streams_that_come_late_or_with_gaps_or_not_at_all_are_not_held() -> None:
    assert not told(lambda _: list(range(LAST)), after=DEADLINE_S + 0.001).held
    assert told(lambda _: list(range(LAST)), after=DEADLINE_S - 0.001).held
    good = told(lambda _: list(range(LAST)))
    assert not replace(good, gaps=1).held
    assert not replace(good, refused=1).held
    assert not Trial(3, np.zeros(0)).held


def test_the_first_frames_of_a_stream_that_was_fed_before_are_counted_from_where_it_stood() -> None:
    tally = Tally(PACE, [0], {0: 50})
    for number in (expected := PACE.expected(0, 50)):
        tally.frame(0, number, PACE.ready(0, number, 50) + 0.02)
    assert expected[0] > 15
    assert tally.complete()
    assert tally.trial(0.0).p99_s == pytest.approx(0.02)
    assert tally.trial(0.0).held


# --- the search ----------------------------------------------------------------------------------------------------


@given(st.integers(0, 3000), st.integers(1, 500))
def test_the_search_ends_near_the_largest_number_that_holds(holds: int, first: int) -> None:
    found = search(lambda n: made(n, n <= holds), first, 1 << 20, math.inf)
    assert found.streams <= holds
    assert holds - found.streams <= max(1, CLOSE * holds)
    assert found.failed is not None
    assert found.failed.streams > holds
    assert len(found.trials) < 50


def test_a_number_that_fails_once_is_tried_again_and_one_that_fails_twice_has_failed() -> None:
    tried: list[int] = []

    def trial(streams: int) -> Trial:
        tried.append(streams)
        return made(streams, streams < 40 and tried.count(streams) == 2)

    found = search(trial, 10, 1 << 20, math.inf)
    assert found.streams >= 38
    assert tried[:6] == [10, 10, 20, 20, 40, 40]
    assert [each.streams for each in found.trials] == tried


def test_the_search_ends_at_the_largest_number_that_is_allowed_and_with_its_time() -> None:
    allowed = search(lambda n: made(n, True), 10, 100, math.inf)
    assert (allowed.streams, allowed.bounded) == (100, True)
    hasty = search(lambda n: made(n, True), 10, 1 << 20, 0.0)
    assert [trial.streams for trial in hasty.trials] == [10]
    assert "no time" in hasty.about


def made(streams: int, held: bool, **more: Any) -> Trial:
    return Trial(streams, np.array([0.01 if held else 1.0]), more=more)


# --- the engine alone ----------------------------------------------------------------------------------------------


class QuickEngine:
    """Has the engine's face, and answers at once: with a frame whenever its sound is there. fault: what it does."""

    fault = ""

    def __init__(self, pool: object, tags: Sequence[str], thresholds: object, tell: Any, spec: object, observer: Any):
        del pool, thresholds, spec
        self.tags, self.tell, self.observer = tags, tell, observer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def open(self, name: str, format: object, position: None, on_writable: Callable[[], None]) -> QuickFeed:
        del format, position, on_writable
        return QuickFeed(self, name)


class QuickFeed:
    def __init__(self, engine: QuickEngine, name: str) -> None:
        self.engine, self.name, self.samples, self.frames = engine, name, 0, 0

    def push(self, data: bytes) -> bool:
        self.samples += len(data) // 2
        messages: list[Message] = []
        while self.samples >= 4096 * self.frames + 6144:
            messages.append(Frame(self.name, self.frames, 0.0, 0.5, {}))
            self.frames += 1
        if self.name == "3" and messages and self.frames == 4:
            messages = {"loses": [], "repeats": 2 * messages, "gap": [Gap("3", 0, 1), *messages]}.get(
                self.engine.fault, messages
            )
        if self.engine.fault == "late" and messages:
            threading.Timer(0.3, self.engine.tell, [messages]).start()
        else:
            self.engine.tell(messages)
        self.engine.observer.on_step(1, 0.001, [], 0)
        return not (self.engine.fault == "full" and self.name == "3")

    def end(self) -> None:
        pass


@pytest.mark.parametrize("fault", ["", "loses", "repeats", "gap", "late", "full"])
def test_what_an_engine_does_is_seen(fault: str, tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "Engine", QuickEngine)
    monkeypatch.setattr(QuickEngine, "fault", fault)
    trial = alone.engine_trial(tagger, PACE, 8, ParallelismPlan(None, 1))
    assert trial.held == (fault == "")
    assert (trial.missing > 0) == (fault in ("loses", "full"))
    assert (trial.repeated > 0) == (fault == "repeats")
    assert (trial.gaps > 0) == (fault in ("gap", "full"))
    assert trial.more["batch_mean"] == 1
    if fault == "late":
        assert trial.p99_s > 0.3
        assert trial.lossless


@pytest.mark.parametrize("workforce", [ParallelismPlan(None, 2), ParallelismPlan(2, 3)])
def test_the_engine_is_measured_by_the_clock(tagger: Tagger, workforce: ParallelismPlan) -> None:
    trial = alone.engine_trial(tagger, PACE, 6, workforce)
    assert trial.lossless
    assert len(trial.after) == sum(len(PACE.expected(stream)) for stream in range(6))
    assert trial.after.min() > 0
    assert 1 <= trial.more["batch_mean"] <= trial.more["batch_max"] <= 6
    assert trial.more["worker_ms_a_hop"] > 0
    assert trial.more["device_bytes_a_stream"] > 10_000
    assert (trial.more["workers_cpu_percent_of_a_core"] > 0) == (workforce.processes is not None)


# --- the pool, and the parts of its work ---------------------------------------------------------------------------


def test_the_pool_is_measured_by_the_clock(tagger: Tagger) -> None:
    trial = pool_trial(tagger, replace(PACE, chunk_s=0.256), 6, 2)
    assert trial.lossless
    assert len(trial.after) == sum(len(replace(PACE, chunk_s=0.256).expected(stream)) for stream in range(6))
    assert trial.after.min() > 0
    assert trial.more["device_bytes_a_stream"] > 10_000
    assert 1 <= trial.more["batch_mean"] <= trial.more["batch_max"] <= 6


def test_the_parts_of_a_hop_are_timed_and_make_up_the_time_of_the_workers(tagger: Tagger) -> None:
    timed = parts(tagger, PACE, 4, 2, seconds=0.4)
    assert all(timed[f"{name}_ms_a_hop"] > 0 for name in ("scattering", "gru", "ingest", "message"))
    assert timed["scattering_ms_a_hop"] > timed["message_ms_a_hop"]  # or something is not timed at all
    of_a_hop = {"scattering_ms_a_hop": 1.28, "gru_ms_a_hop": 0.64}
    threads = {"thread 1": 60.0, "thread 2": 40.0, "thread 3": 15.0}
    trial = made(100, True, cpu_percent_of_a_core=120.0, **threads)
    told = shares(trial, of_a_hop, 0.256, ParallelismPlan(None, 2), 1)
    assert told["cpu_ms_a_hop"] == pytest.approx(1.2 * 2.56)
    assert told["scattering_percent"] == pytest.approx(100 * 1.28 / 2.56 / 1.2)
    assert told["gru_percent"] == pytest.approx(100 * 0.64 / 2.56 / 1.2)
    assert told["sockets_percent"] == pytest.approx(100 * 15 / 120)
    assert sum(value for name, value in told.items() if name.endswith("percent")) == pytest.approx(100)
    beside = made(100, True, cpu_percent_of_a_core=120.0, **{"thread 1": 30.0, "thread 2": 10.0})
    assert shares(beside, of_a_hop, 0.256, ParallelismPlan(2, 3), 1)["sockets_percent"] == pytest.approx(100 * 30 / 120)
    assert shares(beside, of_a_hop, 0.256, ParallelismPlan(2, 3), 0)["sockets_percent"] == 0
    assert "not_measured" in shares(made(3, True), timed, 0.256, ParallelismPlan(2, 3), 1)


class Again:
    """Records nothing: does the work anew, as a GPU's graphs would."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        return work

    def wait(self) -> None:
        pass


def test_where_work_would_be_recorded_its_halves_are_timed_by_themselves_and_do_the_same(tagger: Tagger) -> None:
    plain, timed = BatchedTagger(tagger.network, 3), TimedHopStep(tagger.network, 3, capture=Again())
    sound = music(1.0)[: 3 * 4096].reshape(3, 4096)
    for _ in range(3):
        np.testing.assert_allclose(
            timed.step(sound, np.arange(3)), plain.step(sound, np.arange(3)), rtol=1e-4, atol=1e-5
        )
    assert timed.scattering_s > 0
    assert timed.tagging_s > 0


def test_sizes_follow_from_what_was_measured() -> None:
    told = Sizing(per_core=100, kib=256, kbit_in=256, kbit_out=40).figures()
    assert told["10000_streams"].startswith("100 cores (2 machines of 64), 2.44 GiB")
    assert "256 Gbit/s in, 40 Gbit/s out" in told["1000000_streams"]


# --- over sockets --------------------------------------------------------------------------------------------------


def test_a_real_server_is_measured_by_producers_in_another_process(model: Path) -> None:
    trial = socket_trial(model, "cpu", PACE, 5)
    assert trial.lossless, trial
    assert trial.streams == 5
    assert len(trial.after) == sum(len(PACE.expected(stream)) for stream in range(5))
    assert trial.after.min() > 0
    assert trial.more["batch_mean"] >= 1
    assert trial.more["server_mib"] > 50
    assert 5 < trial.more["kbit_a_second_out_a_stream"] < 100
    assert trial.more["clients_cpu_percent_of_a_core"] > 0


def test_streams_that_a_server_does_not_let_in_are_not_held(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(*arguments: Any) -> AbstractContextManager[Serving]:
        return serving(*arguments, "--max-streams", "3")

    monkeypatch.setattr(sockets, "serving", small)
    trial = socket_trial(model, "cpu", PACE, 5)
    assert trial.refused == 2
    assert not trial.held
    assert trial.gaps == 0


def test_a_stream_takes_some_of_a_servers_memory(model: Path) -> None:
    assert 10 < kib_a_stream(model, "cpu", PACE, first=16, more=48) < 2000


def test_memory_that_worker_processes_share_is_counted_once(tagger: Tagger) -> None:
    streams, own = 400, os.getpid()
    with SessionPool(tagger, streams, processes=2) as pool:
        before, alone = program_mib(own), resident_mib(own)
        for _ in range(streams):
            pool.add()
        states_mib = streams * pool.slot_bytes / 2**20
        assert 0.9 * states_mib < program_mib(own) - before < 1.5 * states_mib
        assert resident_mib(own) - alone < 0.5 * states_mib  # the control: what is this process's alone


def test_a_server_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    with pytest.raises(StreamtagError, match="no-such-model"), serving(tmp_path / "no-such-model", "cpu"):
        pass


# --- the peer ------------------------------------------------------------------------------------------------------


def test_processes_of_listen_stay_from_trial_to_trial(model: Path) -> None:
    with Peers(PACE, model, "cpu") as peers:
        assert peers.most() >= 1
        trials = [peers.trial(streams) for streams in (2, 1)]
    assert [trial.streams for trial in trials] == [2, 1]
    for trial in trials:
        assert trial.lossless, trial
        assert len(trial.after) > 0


# --- the command ---------------------------------------------------------------------------------------------------


class QuickPeers:
    """Five hold."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def most(self) -> int:
        return 100

    def trial(self, streams: int) -> Trial:
        return made(streams, streams <= 5)


def in_place_of_the_machine(monkeypatch: pytest.MonkeyPatch, sockets: int) -> None:
    """The engine alone holds 100 streams."""

    def over(model: Path, device: str, pace: Pace, streams: int, precision: str) -> Trial:
        del model, device, pace
        assert precision == "bfloat16"
        return made(streams, streams <= sockets, kbit_a_second_out_a_stream=40.0)

    monkeypatch.setattr(
        command,
        "engine_trial",
        lambda tagger, pace, streams, **how: made(streams, streams <= 100, batch_mean=2.0),  # noqa: ARG005
    )
    monkeypatch.setattr(command, "socket_trial", over)
    monkeypatch.setattr(command, "Peers", QuickPeers)
    monkeypatch.setattr(command, "kib_a_stream", lambda *_: 512.0)
    monkeypatch.setattr(command, "parts", lambda *args, **how: {"scattering_ms_a_hop": 1.0, "gru_ms_a_hop": 0.5})  # noqa: ARG005


def test_the_command_tells_what_was_found_and_what_follows(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_place_of_the_machine(monkeypatch, 50)
    assert command.run(as_json=True, model=model, device="cpu", seconds=1.0, precision="bfloat16") == 0
    told = json.loads(capsys.readouterr().out)
    engine, sockets, peers = told[command.ENGINE], told[command.SOCKETS], told[command.PEERS]
    assert 96 <= engine["streams"] <= 100
    assert 48 <= sockets["streams"] <= 50
    assert 4 <= peers["streams"] <= 5
    assert any("not held" in line for line in engine["trials"])
    ratios = told["streams for each process of listen"]
    assert ratios["engine_alone"] == pytest.approx(engine["streams"] / peers["streams"])
    sizes = told["sizing: arithmetic from the figures over sockets"]
    assert sizes["kib_a_stream"] == pytest.approx(512)
    assert "not_measured" in told["on a GPU"]
    assert command.run(as_json=False, model=model, device="cpu", seconds=1.0, precision="bfloat16") == 0
    assert "engine alone" in capsys.readouterr().out


def test_on_a_gpu_the_pool_is_looked_at_by_itself_with_one_worker(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_place_of_the_machine(monkeypatch, 50)

    def pool(tagger: Tagger, pace: Pace, streams: int, workers: int, precision: str) -> Trial:
        del tagger
        assert precision == "bfloat16"
        assert workers == 1
        assert pace.chunk_s == pytest.approx(0.256)
        return made(streams, streams <= 10_000)

    monkeypatch.setattr(command, "pool_trial", pool)
    found = command.searches(tagger, PACE, ParallelismPlan(None, 1), gpu=True, precision="bfloat16")
    assert found[command.POOL].trials[0].streams == command.FIRST_ON_A_GPU
    assert 9600 <= found[command.POOL].streams <= 10_000
    assert 96 <= found[command.ENGINE].streams <= 100


def test_a_machine_that_holds_nothing_is_told_of_too(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_place_of_the_machine(monkeypatch, 0)
    assert command.run(as_json=True, model=model, device="cpu", seconds=1.0, precision="bfloat16") == 0
    told = json.loads(capsys.readouterr().out)
    assert told[command.SOCKETS]["streams"] == 0
    assert not any(name.startswith("sizing") for name in told)
